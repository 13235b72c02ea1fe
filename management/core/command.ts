/** command(): an API command as one declared object, and the registry that calls it. */
import { randomUUID } from 'node:crypto';
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import { type Caller, type Context, isRootAdmin } from './context.ts';
import type { Tx } from './db.ts';
import { writeEvent } from './events.ts';
import type { Started, StartOptions } from './jobs.ts';
import type { InferParams, Params, RawParams } from './params.ts';
import type { Saga } from './saga.ts';
import type { Services } from './services.ts';
import { type Fields, show, type View } from './view.ts';

/** Who may call: everybody even without login, every account, domain admins and above, root admins. */
export type Access = 'public' | 'user' | 'domainAdmin' | 'admin';

/** The shape of an answer. */
export type Reply<R> =
  | { readonly kind: 'one'; readonly view: View<R>; readonly key: string }
  /** An answer that looks like a list though it is one object, or several. */
  | { readonly kind: 'list'; readonly view: View<never>; readonly key: string }
  | { readonly kind: 'success' }
  /** Fields right under the envelope. */
  | { readonly kind: 'flat'; readonly view: View<R> }
  /** A job; `view` is what its result will show, null for plain success. `create`: the new thing's id comes at once. */
  | { readonly kind: 'job'; readonly view: View<never> | null; readonly key: string | null; readonly create: boolean };

export interface Page<R> {
  readonly count: number;
  readonly rows: readonly R[];
}
export interface StartedJob extends Started {
  /** Id of the new thing, for creating jobs. */
  readonly id?: string;
}

export const reply = {
  one: <R>(view: View<R>, key: string = view.key): Reply<R> => ({ kind: 'one', view, key }),
  list: <R>(view: View<R>, key: string = view.key): Reply<Page<R>> => ({ kind: 'list', view: view as View<never>, key }),
  success: (): Reply<void> => ({ kind: 'success' }),
  flat: <R>(view: View<R>): Reply<R> => ({ kind: 'flat', view }),
  job: <R>(
    view: View<R> | null,
    { create = false, key = view?.key ?? null }: { create?: boolean; key?: string | null } = {},
  ): Reply<StartedJob> => ({
    kind: 'job',
    view: view as View<never> | null,
    key,
    create,
  }),
};

export interface Command<P extends Params = Params, R = unknown> {
  readonly name: string;
  /** One sentence for listApis and the manual. */
  readonly about: string;
  readonly access: Access;
  readonly params: P;
  readonly reply: Reply<R>;
  /** Root key of the answer where it is not the lower-cased name with `response`. */
  readonly envelope?: string;
  /** Event type such as VM.START, and the sentence that follows «Scheduled …», «Error while …»: `starting virtual machine`. */
  readonly event?: { readonly type: string; readonly text: string; readonly resource?: string };
  readonly run: (context: CommandContext, params: InferParams<P>) => Promise<R>;
}
export type AnyCommand = Command<Params, never>;

export interface CommandContext extends Context {
  /** Starts a saga as this command's job, with its event, in the given transaction or one of its own. */
  readonly start: <I>(
    saga: Saga<I, unknown>,
    input: I,
    about?: { instance?: { type: string; id: string }; text?: string },
    tx?: Tx,
  ) => Promise<Started>;
}

export function command<P extends Params, R>(definition: Command<P, R>): Command<P, R> {
  return definition;
}
/** For lists of commands of many types. */
export const asCommands = (...commands: readonly unknown[]): readonly AnyCommand[] => commands as readonly AnyCommand[];

export const envelopeOf = ({ name, envelope }: Pick<AnyCommand, 'name' | 'envelope'>): string =>
  envelope ?? `${name.toLowerCase()}response`;
export const isAsync = ({ reply: { kind } }: Pick<AnyCommand, 'reply'>): boolean => kind === 'job';

const RANK: Record<Access, number> = { public: 0, user: 1, domainAdmin: 2, admin: 3 };
const rankOf = (caller: Caller): number => (caller.accountType === 'admin' ? 3 : caller.accountType === 'domainAdmin' ? 2 : 1);
export const mayCall = ({ access }: Pick<AnyCommand, 'access'>, caller: Caller): boolean => rankOf(caller) >= RANK[access];

export interface Registry {
  readonly commands: readonly AnyCommand[];
  find: (name: string) => AnyCommand | undefined;
  /** Runs a command whose caller is known; returns the body under the envelope. */
  call: (command: AnyCommand, services: Services, caller: Caller, raw: RawParams, requestId: string) => Promise<Record<string, unknown>>;
}

export function registry(commands: readonly AnyCommand[]): Registry {
  const byName = new Map(commands.map((each) => [each.name, each]));
  if (byName.size !== commands.length) {
    const twice = commands.find((each, index) => commands.findIndex(({ name }) => name === each.name) !== index);
    throw new CloudError('Internal', `two commands are named ${twice?.name}`);
  }
  return {
    commands,
    find: (name) => byName.get(name),
    call: async (given, services, caller, raw, requestId) => {
      const each = given as unknown as Command<Params, unknown>;
      if (each.access !== 'public' && !mayCall(each, caller)) {
        throw new CloudError(
          'UnknownCommand',
          `The API [${each.name}] does not exist or is not available for the account Account [${caller.accountName}]`,
        );
      }
      const log = services.log.child({ requestId, command: each.name });
      const rings: Started[] = [];
      const context: CommandContext = {
        ...services,
        caller,
        requestId,
        log,
        start: async (saga, input, { instance, text } = {}, tx) => {
          const options: StartOptions = {
            command: each.name,
            caller,
            requestId,
            ...(instance ? { instance } : {}),
            ...(each.event ? { event: { type: each.event.type, text: text ?? each.event.text } } : {}),
          };
          if (!tx) return services.jobs.start(saga, input, options);
          const started = await services.jobs.add(tx, saga, input, options);
          rings.push(started);
          return started;
        },
      };
      const params = await readParams(each, context, raw);
      const ownEvent = each.event && each.reply.kind !== 'job' ? each.event : null;
      try {
        const result = await each.run(context, params as never);
        // The job is rung for when the transaction that wrote it has committed.
        for (const started of rings) services.jobs.ring(started);
        if (ownEvent)
          // It is done and stays done: a caller who was told otherwise would do it again.
          await syncEvent(
            services,
            caller,
            ownEvent,
            'INFO',
            `Successfully completed ${ownEvent.text}`,
            idOf(result) ?? idOf(params),
          ).catch((error: unknown) => log.error({ err: error }, 'the command is done, but its event was not written'));
        return body(each, result, caller);
      } catch (error) {
        if (ownEvent) {
          const said = CloudError.store(error).message;
          await syncEvent(services, caller, ownEvent, 'ERROR', `Error while ${ownEvent.text}: ${said}`, idOf(params)).catch(
            () => undefined,
          );
        }
        throw error;
      }
    },
  };
}

async function syncEvent(
  services: Services,
  caller: Caller,
  event: NonNullable<AnyCommand['event']>,
  level: 'INFO' | 'ERROR',
  description: string,
  id: string | undefined,
) {
  await services.db.transact((tx) =>
    writeEvent(tx, {
      type: event.type,
      level,
      description,
      caller,
      ...(id && event.resource ? { resource: { type: event.resource, id } } : {}),
    }),
  );
}

const idOf = (value: unknown): string | undefined => {
  if (typeof value !== 'object' || value === null || !('id' in value)) return undefined;
  if (typeof value.id === 'string') return value.id;
  return idOf(value.id);
};

async function readParams(each: Command<Params, unknown>, context: Context, raw: RawParams): Promise<Record<string, unknown>> {
  const values: Record<string, unknown> = {};
  for (const [name, param] of Object.entries(each.params)) {
    if (param.adminOnly && !isRootAdmin(context.caller)) continue;
    const given = raw.get(name.toLowerCase());
    const blank = given?.entries === undefined && (given?.text === undefined || given.text === '');
    const value = given && !(param.required && blank) ? await param.read(given, { command: each.name, param: name, context }) : undefined;
    if (value !== undefined) values[name] = value;
    // Also what was given as blanks, or as `name[0].field` where a text is wanted.
    else if (param.required) {
      throw new CloudError(
        'MalformedParameter',
        `Unable to execute API command ${each.name.toLowerCase()} due to missing parameter ${name}`,
      );
    }
  }
  return values;
}

function body(each: Command<Params, unknown>, result: unknown, caller: Caller): Record<string, unknown> {
  const admin = isRootAdmin(caller);
  const { reply: shape } = each;
  switch (shape.kind) {
    case 'success': {
      const text = typeof result === 'object' && result !== null && 'displaytext' in result ? { displaytext: result.displaytext } : {};
      return { success: true, ...text };
    }
    case 'one':
      return { [shape.key]: show(shape.view.fields, result, { admin }) };
    case 'flat':
      return show(shape.view.fields, result, { admin });
    case 'list': {
      const { count, rows } = result as Page<unknown>;
      if (count === 0) return {};
      if (rows.length === 0) return { count };
      return { count, [shape.key]: rows.map((row) => show(shape.view.fields as Fields<unknown>, row, { admin })) };
    }
    case 'job': {
      const { jobId, id } = result as StartedJob;
      return shape.create && id ? { id, jobid: jobId } : { jobid: jobId };
    }
  }
}

export const newRequestId = (): string => randomUUID();
export type JobId = Id<'job'>;
