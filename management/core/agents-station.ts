/** What the hub knows of one agent: its link, where that link stands, and the asks that wait for it. */

import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { encode, type FrameOf } from '../../protocol/link/frame.ts';
import type { Peer, ServerLink } from '../../protocol/link/server.ts';
import { type Call, TIMEOUT_SECONDS } from '../../protocol/message.ts';
import { parse } from '../../protocol/schema.ts';

export interface StationTiming {
  /** How long an ask outlives its broken link before it ends as Unreachable. */
  readonly relinkGraceMs: number;
}
export interface StationAsk {
  readonly requestId: string;
  readonly job?: string;
  readonly epoch?: number;
  readonly signal?: AbortSignal;
  /** Asked while the agent is still being made ready, by the hub's `prepare` alone. */
  readonly whileConnecting: boolean;
}
export type AskOutcome = 'answered' | 'refused' | 'timeout' | 'unreachable' | 'given up';

type Reply = FrameOf<'answer'> | FrameOf<'refusal'>;
interface Pending {
  readonly text: string;
  readonly whileConnecting: boolean;
  readonly settle: (reply: Reply) => void;
  readonly fail: (error: CloudError, outcome: AskOutcome) => void;
}
interface Waiter {
  readonly whileConnecting: boolean;
  readonly go: () => void;
  readonly fail: (error: CloudError) => void;
}

const ASKS_PER_AGENT_MAX = 1000;

export class Station {
  readonly peer: Peer;
  link: ServerLink | null = null;
  isUp = false;
  /** What is being written about this agent, in order. */
  writing: Promise<unknown> = Promise.resolve();
  writesWaiting = 0;
  readonly #timing: StationTiming;
  readonly #pending = new Map<string, Pending>();
  readonly #waiters = new Set<Waiter>();
  #away: NodeJS.Timeout | null = null;

  constructor(peer: Peer, timing: StationTiming) {
    this.peer = peer;
    this.#timing = timing;
  }

  get asksInFlight(): number {
    return this.#pending.size;
  }
  get isIdle(): boolean {
    return this.link === null && this.#pending.size === 0 && this.#waiters.size === 0 && this.writesWaiting === 0;
  }

  attach(link: ServerLink): void {
    this.link = link;
    this.isUp = false;
    this.#stayed();
    this.#send((pending) => pending.whileConnecting);
    for (const waiter of this.#waiters) if (waiter.whileConnecting) waiter.go();
  }

  up(): void {
    this.isUp = true;
    // An ask whose link broke goes out again here; an agent that still works on it joins the two.
    this.#send((pending) => !pending.whileConnecting);
    for (const waiter of this.#waiters) waiter.go();
  }

  detach(): void {
    this.link = null;
    this.isUp = false;
    this.#away ??= setTimeout(() => {
      this.#away = null;
      this.failAll(new CloudError('Unreachable', `the ${this.peer.kind} lost its link and did not come back`, { ...this.peer }));
    }, this.#timing.relinkGraceMs);
    this.#away.unref();
  }

  failAll(error: CloudError): void {
    this.#stayed();
    for (const pending of [...this.#pending.values()]) pending.fail(error, 'unreachable');
    for (const waiter of [...this.#waiters]) waiter.fail(error);
  }

  #stayed(): void {
    if (this.#away !== null) clearTimeout(this.#away);
    this.#away = null;
  }

  #send(which: (pending: Pending) => boolean): void {
    for (const pending of this.#pending.values()) if (which(pending)) this.link?.sendText(pending.text);
  }

  reply(frame: Reply): void {
    this.#pending.get(frame.id)?.settle(frame);
  }

  /** Resolves when the agent can be asked; Unreachable after the grace. */
  reachable(graceMs: number, whileConnecting: boolean, signal: AbortSignal | undefined): Promise<void> {
    if (this.isUp || (whileConnecting && this.link !== null)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = (act: () => void) => () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#waiters.delete(waiter);
        act();
      };
      const waiter: Waiter = {
        whileConnecting,
        go: () => end(resolve)(),
        fail: (error) => end(() => reject(error))(),
      };
      const onAbort = () => waiter.fail(new CloudError('Unavailable', 'the ask was given up', { cause: signal?.reason }));
      const timer = setTimeout(() => {
        const why = this.link === null ? 'has no link to a management server' : 'is still being made ready';
        waiter.fail(new CloudError('Unreachable', `the ${this.peer.kind} ${why}`, { ...this.peer }));
      }, graceMs);
      this.#waiters.add(waiter);
      if (signal?.aborted) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  ask<A>(call: Call<A>, options: StationAsk, done: (outcome: AskOutcome) => void): Promise<A> {
    const { requestId, job, epoch, signal, whileConnecting } = options;
    const { name, answer, patience } = call.message;
    if (this.#pending.size >= ASKS_PER_AGENT_MAX) {
      throw new CloudError('ResourceUnavailable', `too many questions wait for the ${this.peer.kind}`, { ...this.peer });
    }
    const id = newId('ask');
    const timeoutMs = TIMEOUT_SECONDS[patience] * 1000;
    const fence = { ...(job === undefined ? {} : { job }), ...(epoch === undefined ? {} : { epoch }) };
    const text = encode({ kind: 'ask', id, name, body: call.ask, requestId, timeoutMs, ...fence });
    return new Promise<A>((resolve, reject) => {
      const end = (outcome: AskOutcome): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#pending.delete(id);
        done(outcome);
      };
      const pending: Pending = {
        text,
        whileConnecting,
        settle: (reply) => {
          if (reply.kind === 'refusal') {
            end('refused');
            const refusal = CloudError.revive(reply.body);
            // Unavailable says of us that our database is away, and a job waits for that without end. At the far end it is a failure.
            reject(refusal.code === 'Unavailable' ? new CloudError('ResourceUnavailable', refusal.message) : refusal);
            return;
          }
          end('answered');
          try {
            resolve(parse(answer, reply.body, `${name} answer`));
          } catch (cause) {
            reject(
              new CloudError('Internal', `the ${this.peer.kind} gave an answer to ${name} that makes no sense`, { cause, ...this.peer }),
            );
          }
        },
        fail: (error, outcome) => {
          end(outcome);
          reject(error);
        },
      };
      const giveUp = (error: CloudError, outcome: AskOutcome): void => {
        this.link?.sendText(encode({ kind: 'cancel', id }));
        pending.fail(error, outcome);
      };
      const onAbort = () => giveUp(new CloudError('Unavailable', 'the ask was given up', { cause: signal?.reason }), 'given up');
      const timer = setTimeout(() => {
        const seconds = TIMEOUT_SECONDS[patience];
        giveUp(new CloudError('Timeout', `the ${this.peer.kind} did not answer ${name} within ${seconds} s`, { ...this.peer }), 'timeout');
      }, timeoutMs);
      this.#pending.set(id, pending);
      if (signal?.aborted) return onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
      this.link?.sendText(text);
    });
  }
}
