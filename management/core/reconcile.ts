/** reconciler(): makes the world match the record, on a timer and when woken. One leader per task among all management servers. */
import type { Log } from '../../protocol/log.ts';
import type { Database } from './db.ts';
import type { Services } from './services.ts';
import { leases } from './tables.ts';

export interface Reconciler {
  readonly name: string;
  readonly everySeconds: number;
  /** Subjects that make it run soon: bells of agents, and what `services.wake` says. */
  readonly wakeOn: readonly string[];
  /** Compares the record with the world and acts by the same functions the API uses. Running it twice does nothing more. */
  readonly run: (services: Services) => Promise<void>;
}
export const reconciler = (definition: Reconciler): Reconciler => definition;

export interface Reconciliation {
  wake: (subject: string) => void;
  /** Runs one now, leader or not; for tests. */
  runOnce: (name: string) => Promise<void>;
  close: () => Promise<void>;
}

export interface ReconcileTiming {
  /** A server that is gone loses its tasks after so long. */
  readonly leaseMs: number;
  /** A run that takes longer has lost its way: its lease is not renewed any more, so another server may do the task. */
  readonly runMsMax: number;
}
const usualTiming: ReconcileTiming = { leaseMs: 15_000, runMsMax: 1_800_000 };
/** Bells come in swarms; a task that was woken runs once for all that rang within this time. */
const GATHER_MS = 100;

export function startReconcilers(
  definitions: readonly Reconciler[],
  services: () => Services,
  owner: string,
  log: Log,
  { leaseMs, runMsMax }: ReconcileTiming = usualTiming,
): Reconciliation {
  interface Task {
    readonly definition: Reconciler;
    running: Promise<void> | null;
    /** When the run of now began. */
    startedAt: number;
    /** This server leads the task until then, as far as it knows. */
    leadsUntil: number;
    again: boolean;
    gather: NodeJS.Timeout | null;
    timer: NodeJS.Timeout;
  }
  let closed = false;

  const leads = async (task: Task): Promise<boolean> => {
    const now = Date.now();
    if (task.leadsUntil > now + leaseMs / 3) return true;
    task.leadsUntil = (await lead(services().db, task.definition.name, owner, now + leaseMs)) ? now + leaseMs : 0;
    return task.leadsUntil > 0;
  };

  /** Leases are kept while a task runs and between its runs, so that its leader changes only when a server goes. */
  const renew = async (): Promise<void> => {
    const now = Date.now();
    const held = tasks.filter((task) => {
      const lostItsWay = task.running !== null && now - task.startedAt > runMsMax;
      if (lostItsWay && task.leadsUntil > now) log.error({ reconciler: task.definition.name }, 'a reconciler does not come to its end');
      return task.leadsUntil > 0 && !lostItsWay;
    });
    if (held.length === 0) return;
    const names = held.map(({ definition }) => definition.name);
    const { db } = services();
    await db.rows('UPDATE lease SET until = ? WHERE owner = ? AND name IN (?)', [new Date(now + leaseMs), owner, names]);
    const still = await db.rows<{ name: string }>('SELECT name FROM lease WHERE owner = ? AND name IN (?)', [owner, names]);
    for (const task of held) task.leadsUntil = still.some(({ name }) => name === task.definition.name) ? now + leaseMs : 0;
  };

  const runTask = (task: Task): Promise<void> => {
    if (task.running) {
      task.again = true;
      return task.running;
    }
    task.running = (async () => {
      do {
        task.again = false;
        try {
          if (await leads(task)) {
            task.startedAt = Date.now();
            await task.definition.run(services());
          }
        } catch (error) {
          log.warn({ err: error, reconciler: task.definition.name }, 'reconciler failed; it runs again at its next time');
        }
      } while (task.again && !closed);
      task.running = null;
    })();
    return task.running;
  };

  const tasks = definitions.map((definition): Task => {
    const timer = setInterval(() => void runTask(task), definition.everySeconds * 1000);
    timer.unref();
    const task: Task = { definition, running: null, startedAt: 0, leadsUntil: 0, again: false, gather: null, timer };
    return task;
  });

  let renewing = false;
  const renewal = setInterval(() => {
    if (renewing) return;
    renewing = true;
    renew()
      .catch((error: unknown) => log.warn({ err: error }, 'leases of tasks were not renewed'))
      .finally(() => {
        renewing = false;
      });
  }, leaseMs / 3);
  renewal.unref();

  return {
    wake: (subject) => {
      if (closed) return;
      for (const task of tasks) {
        if (!task.definition.wakeOn.includes(subject) || task.gather) continue;
        task.gather = setTimeout(() => {
          task.gather = null;
          void runTask(task);
        }, GATHER_MS);
        task.gather.unref();
      }
    },
    runOnce: async (name) => {
      await tasks.find(({ definition }) => definition.name === name)?.definition.run(services());
    },
    close: async () => {
      closed = true;
      clearInterval(renewal);
      for (const { timer, gather } of tasks) {
        clearInterval(timer);
        if (gather) clearTimeout(gather);
      }
      await Promise.race([Promise.all(tasks.map(({ running }) => running)), new Promise((resolve) => setTimeout(resolve, 3000).unref())]);
      const done = tasks.filter(({ running, leadsUntil }) => running === null && leadsUntil > 0).map(({ definition }) => definition.name);
      if (done.length === 0) return;
      await services()
        .db.rows('UPDATE lease SET until = ? WHERE owner = ? AND name IN (?)', [new Date(0), owner, done])
        .catch((error: unknown) => log.debug({ err: error }, 'leases of tasks were not given back; they run out by themselves'));
    },
  };
}

/** Takes or keeps the lease of a task; true when this server leads it. */
async function lead(db: Database, name: string, owner: string, until: number): Promise<boolean> {
  const now = Date.now();
  return db.transact(async (tx) => {
    await tx.query('INSERT IGNORE INTO lease (name, owner, until) VALUES (?, ?, ?)', [name, owner, new Date(0)]);
    const row = await tx.findOne(leases, { where: { name }, lock: { mode: 'pessimistic_write' } });
    if (row && row.owner !== owner && row.until.getTime() > now) return false;
    await tx.update(leases, { name }, { owner, until: new Date(until) });
    return true;
  });
}
