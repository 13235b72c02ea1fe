/**
 * A saga is an async function whose steps are remembered.
 *
 *   step   changes our own database. The change and the memory of it commit in one transaction: it happens exactly once.
 *   ask    changes someone else's machine. It may happen twice, so every message is safe to repeat; and when it fails we cannot know
 *          how far it got, so its undo is asked even then.
 *   part   is a saga within the saga. A part that fails first undoes its own steps, last first, and then throws, so the caller may
 *          try another way. When it has succeeded it is undone with the rest, unless it is a `kept` one: what others use from then
 *          on, such as a network that several machines have waited for, is no longer this saga's to take back.
 *   until  is a step that waits: it is tried again until it returns something, within a time that is remembered too.
 *
 * After a crash the function runs again from the top and what is remembered is not done again. Between steps there is only arithmetic:
 * no clock, no random, no query. What a step or ask returns is kept as JSON in the journal, so it holds no secret.
 */
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import type { PeerKind } from '../../protocol/kinds.ts';
import type { Call } from '../../protocol/message.ts';
import { type Id, parse, type Schema } from '../../protocol/schema.ts';
import { databaseError, type Tx } from './db.ts';
import type { Services } from './services.ts';
import { type JobRow, jobs, journal, owedAsks } from './tables.ts';

/** One agent, or whichever of a kind is up in a zone. */
export type AgentAddress = { readonly kind: PeerKind; readonly id: string } | { readonly any: PeerKind; readonly zoneId: Id<'zone'> };

export interface AskOptions {
  /** How long to wait for the agent's link when there is none; 10 s unless said. */
  readonly linkGraceSeconds?: number;
}
type Callable<A> = Call<A> | ((services: Services) => Promise<Call<A>>);
type Action<T> = (tx: Tx, context: StepContext) => Promise<T>;

export interface StepContext extends Services {
  readonly requestId: string;
  readonly job: Pick<JobRow, 'id' | 'userId' | 'accountId' | 'domainId'>;
}

export interface Run {
  step: <T>(name: string, action: Action<T>, undo?: Action<unknown>) => Promise<T>;
  ask: <A>(name: string, to: AgentAddress, call: Callable<A>, undo?: Callable<unknown>, options?: AskOptions) => Promise<A>;
  part: <T>(name: string, body: (run: Run) => Promise<T>) => Promise<T>;
  /** A part that stays done whatever happens after it. */
  kept: <T>(name: string, body: (run: Run) => Promise<T>) => Promise<T>;
  /** `poll` runs in a transaction until it returns something other than undefined; what it changed before is rolled back. */
  until: <T>(
    name: string,
    poll: Action<T | undefined>,
    options: { timeoutSeconds: number; timeoutMessage: string; undo?: Action<unknown> },
  ) => Promise<T>;
}

export interface Saga<I, O> {
  readonly name: string;
  /** Raised when steps change, so that a job begun by older code is not run by newer. */
  readonly version: number;
  readonly input: Schema<I>;
  /** It may wait for hours on something slow that a tenant has named; of such jobs no more run at once than half of the workers. */
  readonly mayTakeHours?: boolean;
  readonly run: (run: Run, input: I) => Promise<O>;
  /** What the API shows as jobresult: one key with an object, made from the outcome when the job ends. Left out: plain success. */
  // Declared as a method, so that a saga with any outcome can be started by who does not care for it.
  result?(context: StepContext, outcome: O, input: I): Promise<Record<string, unknown>>;
}
export const saga = <I, O>(definition: Saga<I, O>): Saga<I, O> => definition;
export type AnySaga = Saga<never, unknown>;

/** Ends this worker's run without undoing anything: the job goes on elsewhere or later. */
export class Stop extends Error {}
/** Unwinding met an error; the job stays Unwinding and is tried again. */
export class UnwindFailed extends Error {}

export type ProbePoint = 'before' | 'asked' | 'after' | 'undo' | 'unasked';
export type Probe = (point: ProbePoint, step: string) => void | Promise<void>;

export interface World {
  readonly services: Services;
  readonly job: JobRow;
  readonly probe?: Probe;
  /** Pause between two polls of `until`, in milliseconds. */
  readonly pollMs?: number;
  /** True when the process wants to end: `until` then stops instead of waiting on. */
  readonly stopping?: () => boolean;
}

interface Undo {
  readonly step: string;
  readonly undo: () => Promise<void>;
}

/** Runs a job that this worker has claimed at `job.epoch`, from its journal on. */
export async function execute<I, O>({ name, input: shape, run }: Saga<I, O>, world: World): Promise<O> {
  const rows = await world.services.db.read.findBy(journal, { jobId: world.job.id });
  const execution = new Execution(name, world, new Map(rows.map(({ step, value }) => [step, value])));
  return execution.part('', (here) => run(here, parse(shape, world.job.input, name)), []);
}

class Execution {
  readonly #name: string;
  readonly #world: World;
  readonly #memory: Map<string, unknown>;
  readonly #seen = new Set<string>();
  readonly #context: StepContext;

  constructor(name: string, world: World, memory: Map<string, unknown>) {
    this.#name = name;
    this.#world = world;
    this.#memory = memory;
    const { id, userId, accountId, domainId } = world.job;
    this.#context = { ...world.services, requestId: world.job.requestId, job: { id, userId, accountId, domainId } };
  }

  async part<T>(path: string, body: (run: Run) => Promise<T>, outer: Undo[]): Promise<T> {
    const failure = this.#memory.get(`${path} failed`);
    if (this.#memory.has(`${path} undone`)) throw CloudError.revive(failure);
    const undos: Undo[] = [];
    try {
      const result = await body(this.#runIn(path, failure, undos));
      outer.push(...undos);
      return result;
    } catch (error) {
      if (error instanceof Stop || error instanceof UnwindFailed) throw error;
      if (isOutage(error)) throw new Stop('the database is away; the job goes on when it is back');
      // The decision to undo is written before the first undo, or a crash while undoing would send us forward again.
      if (!failure) {
        this.#world.services.log.warn({ err: error, job: this.#world.job.id, saga: this.#name, path }, 'saga part failed and is undone');
        await this.#commit(`${path} failed`, async () => CloudError.store(error), path === '' ? 'Unwinding' : null);
      }
      await this.#unwind(undos);
      await this.#commit(`${path} undone`, async () => true);
      // What is thrown here is what a later run would throw from its memory, so both go the same way from here.
      throw error instanceof CloudError ? error : CloudError.revive(CloudError.store(error));
    }
  }

  #runIn(path: string, failure: unknown, undos: Undo[]): Run {
    const { services } = this.#world;
    const step: Run['step'] = async (name, action, undo) => {
      const key = this.#key(path, name);
      const result = await this.#once(key, failure, () => this.#commit(key, action));
      if (undo) undos.push({ step: key, undo: async () => void (await this.#commit(`${key} undone`, undo)) });
      await this.#probe('after', key);
      return result;
    };
    return {
      step,
      part: (name, body) => this.part(this.#key(path, name), body, undos),
      kept: (name, body) => this.part(this.#key(path, name), body, []),
      ask: async (name, to, callable, undo, options) => {
        const key = this.#key(path, name);
        if (undo) undos.push({ step: key, undo: () => this.#unask(key, to, undo) });
        return this.#once(key, failure, async () => {
          const call = typeof callable === 'function' ? await callable(services) : callable;
          const answer = await this.#ask(to, call, options);
          await this.#probe('asked', key);
          return this.#commit(key, async () => answer);
        });
      },
      until: async (name, poll, { timeoutSeconds, timeoutMessage, undo }) => {
        const deadline = await step(`${name} deadline`, async () => Date.now() + timeoutSeconds * 1000);
        const key = this.#key(path, name);
        const result = await this.#once(key, failure, async () => {
          for (;;) {
            const found = await this.#write(key, async (tx, context) => {
              const value = await poll(tx, context);
              return value === undefined ? undefined : { value };
            });
            if (found) return found.value;
            if (Date.now() > deadline) throw new CloudError('Timeout', timeoutMessage);
            if (this.#world.stopping?.()) throw new Stop('the server is going down');
            await new Promise((resolve) => setTimeout(resolve, this.#world.pollMs ?? 250));
          }
        });
        if (undo) undos.push({ step: key, undo: async () => void (await this.#commit(`${key} undone`, undo)) });
        await this.#probe('after', key);
        return result;
      },
    };
  }

  #key(path: string, name: string): string {
    return `${path}/${name}`;
  }

  #ask<A>(to: AgentAddress, call: Call<A>, options: AskOptions = {}): Promise<A> {
    const { job, services } = this.#world;
    return services.agents.ask(to, call, { ...options, requestId: job.requestId, job: job.id, epoch: job.epoch });
  }

  async #unask(key: string, to: AgentAddress, undo: Callable<unknown>): Promise<void> {
    const { services, job } = this.#world;
    const call = typeof undo === 'function' ? await undo(services) : undo;
    try {
      await this.#ask(to, call);
      await this.#probe('unasked', key);
      await this.#commit(`${key} undone`, async () => true);
    } catch (error) {
      if (!(error instanceof CloudError && error.code === 'Unreachable') || !('id' in to)) throw error;
      // The machine is away. What it owes is asked as soon as it is back, and the job does not wait for that.
      await this.#commit(`${key} undone`, async (tx) => {
        await tx.insert(owedAsks, {
          id: newId('owedAsk'),
          jobId: job.id,
          agentKind: to.kind,
          agentId: to.id,
          message: call.message.name,
          ask: call.ask as object,
          createdAt: new Date(),
        });
        return 'owed';
      });
    }
  }

  async #once<T>(step: string, failure: unknown, act: () => Promise<T>): Promise<T> {
    if (this.#seen.has(step)) throw new CloudError('Internal', `${this.#name} has two steps named ${step}`);
    this.#seen.add(step);
    if (this.#memory.has(step)) return this.#memory.get(step) as T;
    if (failure) throw CloudError.revive(failure);
    await this.#probe('before', step);
    return act();
  }

  async #unwind(undos: readonly Undo[]): Promise<void> {
    for (const { step, undo } of [...undos].reverse()) {
      if (this.#memory.has(`${step} undone`)) continue;
      await this.#probe('undo', step);
      try {
        await undo();
      } catch (error) {
        if (error instanceof Stop) throw error;
        this.#world.services.log.error(
          { err: error, job: this.#world.job.id, saga: this.#name, step },
          'undo failed and will be tried again',
        );
        throw new UnwindFailed(step, { cause: error });
      }
    }
  }

  /** One transaction: the change, the memory of it, and proof that the job is still ours. */
  async #commit<T>(key: string, change: Action<T>, state: JobRow['state'] | null = null): Promise<T> {
    const written = await this.#write(key, async (tx, context) => ({ value: await change(tx, context) }), state);
    if (!written) throw new CloudError('Internal', `${key} was not committed`);
    return written.value;
  }

  /** As commit, but when `change` returns undefined nothing of it stays. */
  async #write<T>(
    key: string,
    change: Action<{ value: T } | undefined>,
    state: JobRow['state'] | null = null,
  ): Promise<{ value: T } | undefined> {
    const { job, services } = this.#world;
    class NotYet extends Error {}
    try {
      const value = await services.db.transact(async (tx) => {
        const owned = await tx.findOne(jobs, {
          where: { id: job.id },
          select: { id: true, epoch: true },
          lock: { mode: 'pessimistic_write' },
        });
        if (owned?.epoch !== job.epoch) throw new Stop(`another worker has taken over ${this.#name}`);
        const changed = await change(tx, this.#context);
        if (changed === undefined) throw new NotYet();
        // What is remembered is what a later run will see, so the first run sees the same: plain JSON.
        const plain: T = JSON.parse(JSON.stringify(changed.value ?? null));
        await tx.insert(journal, { jobId: job.id, step: key, value: plain as never, at: new Date() });
        await tx.update(jobs, { id: job.id }, { step: key.slice(0, 255), ...(state ? { state } : {}) });
        return plain;
      });
      this.#memory.set(key, value);
      return { value };
    } catch (error) {
      if (error instanceof NotYet) return undefined;
      throw error;
    }
  }

  async #probe(point: ProbePoint, step: string): Promise<void> {
    await this.#world.probe?.(point, step);
  }
}

/** Our own database is away, or this server stops: nobody's failure, and nothing to undo. */
export const isOutage = (error: unknown): boolean => {
  const told = databaseError(error);
  return told instanceof CloudError && told.code === 'Unavailable';
};
