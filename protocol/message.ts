import { parse, type Schema } from './schema.ts';

/** Three classes of patience, in seconds. */
export const TIMEOUT_SECONDS = { fast: 10, normal: 120, slow: 3600 } as const;
export type Patience = keyof typeof TIMEOUT_SECONDS;

/**
 * A message is one thing management may ask of a host or a system VM. Any message may arrive twice: its handler makes the world
 * so; it never toggles it.
 */
export interface Message<Q, A> {
  /** `noun.verb`, for example `vm.start`. */
  readonly name: string;
  readonly ask: Schema<Q>;
  readonly answer: Schema<A>;
  readonly patience: Patience;
}
export const message = <Q, A>(definition: Message<Q, A>): Message<Q, A> => definition;

/** A message with its question filled in. */
export interface Call<A> {
  readonly message: { readonly name: string; readonly answer: Schema<A>; readonly patience: Patience };
  readonly ask: unknown;
}
export const call = <Q, A>(definition: Message<Q, A>, ask: Q): Call<A> => ({ message: definition, ask });

/** What the receiver of an ask knows beside the question. */
export interface AskContext {
  readonly requestId: string;
  /** Ends when the asker no longer waits (link gone or timeout). */
  readonly signal: AbortSignal;
}
export interface Handler {
  readonly name: string;
  readonly handle: (ask: unknown, context: AskContext) => Promise<unknown>;
}
export const on = <Q, A>(definition: Message<Q, A>, handle: (ask: Q, context: AskContext) => Promise<A>): Handler => ({
  name: definition.name,
  handle: async (ask, context) =>
    parse(definition.answer, await handle(parse(definition.ask, ask, definition.name), context), `${definition.name} answer`),
});
