/**
 * Finds a server that answers. Whatever the history was, every server of the list is dialled again at least every nine seconds, and an
 * attempt that hangs (a power failure, a stopped process) does not stand in the way of the next one. So an agent is back within ten
 * seconds of any server being back.
 */
export const DELAY_MIN_MS = 250;
export const DELAY_MAX_MS = 3000;
const STAGGER_MS = 1000;
const ROUND_STAGGER_MAX_MS = 2000;
/**
 * A server that has taken so long with an attempt gets a second one beside it. Earlier it would only add to the load of a server to
 * which a thousand agents come back at once.
 */
const PATIENCE_MS = 6000;
const HANGING_DELAY_MS = 1000;
/** Attempts on one server at the same time; the oldest is given up for a newer one. */
const ATTEMPTS_PER_SERVER_MAX = 3;

export interface Dial<T> {
  readonly servers: readonly string[];
  readonly attempt: (server: string, signal: AbortSignal) => Promise<T>;
  /** Called for what came too late, when another attempt had won. */
  readonly discard: (late: T) => void;
  /** Ends early, without an error, when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number;
  readonly random: () => number;
  readonly onFailure: (server: string, error: unknown) => void;
  /** Rounds that failed before; null for the very first connection, which does not wait. */
  readonly failures: number | null;
  readonly signal: AbortSignal;
}

/** Half fixed, half random: many agents that lost the same server do not come back at the same instant. */
export const delayMs = (failures: number, random: () => number): number => {
  const full = Math.min(DELAY_MAX_MS, DELAY_MIN_MS * 2 ** Math.min(failures, 16));
  return full / 2 + (random() * full) / 2;
};

export function dial<T>(options: Dial<T>): Promise<T> {
  const { servers, attempt, discard, sleep, now, random, onFailure, signal } = options;
  const ended = new AbortController();
  const inFlight = new Map<string, AbortController[]>();
  /** When the newest attempt on a server began, while that still hangs. */
  const startedAt = new Map<string, number>();

  return new Promise<T>((resolve, reject) => {
    const stop = (): void => {
      ended.abort();
      for (const controllers of inFlight.values()) for (const controller of controllers) controller.abort();
    };
    const onAbort = (): void => {
      stop();
      reject(signal.reason);
    };
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });

    /** Resolves when the attempt has failed; success ends everything. */
    const start = async (server: string): Promise<void> => {
      const controllers = inFlight.get(server) ?? [];
      inFlight.set(server, controllers);
      if (controllers.length >= ATTEMPTS_PER_SERVER_MAX) controllers.shift()?.abort();
      const controller = new AbortController();
      controllers.push(controller);
      startedAt.set(server, now());
      try {
        const result = await attempt(server, controller.signal);
        if (ended.signal.aborted) return discard(result);
        const index = controllers.indexOf(controller);
        if (index >= 0) controllers.splice(index, 1);
        signal.removeEventListener('abort', onAbort);
        stop();
        resolve(result);
      } catch (error) {
        const index = controllers.indexOf(controller);
        if (index >= 0) controllers.splice(index, 1);
        if (index >= 0 && index === controllers.length) startedAt.delete(server);
        if (!ended.signal.aborted && !controller.signal.aborted) onFailure(server, error);
      }
    };

    const rounds = async (): Promise<void> => {
      const staggerMs = Math.min(STAGGER_MS, ROUND_STAGGER_MAX_MS / servers.length);
      const first = Math.floor(random() * servers.length);
      let failures = options.failures ?? 0;
      if (options.failures !== null) await sleep(delayMs(failures, random), ended.signal);
      while (!ended.signal.aborted) {
        for (let index = 0; index < servers.length && !ended.signal.aborted; index++) {
          const server = servers[(first + index) % servers.length];
          if (server === undefined || now() - (startedAt.get(server) ?? Number.NEGATIVE_INFINITY) < PATIENCE_MS) continue;
          const staggered = new AbortController();
          const over = sleep(staggerMs, AbortSignal.any([staggered.signal, ended.signal]));
          await Promise.race([start(server), over]);
          staggered.abort();
        }
        const hanging = [...inFlight.values()].some((controllers) => controllers.length > 0);
        await sleep(hanging ? HANGING_DELAY_MS : delayMs(failures, random), ended.signal);
        failures += 1;
      }
    };
    rounds().catch(reject);
  });
}
