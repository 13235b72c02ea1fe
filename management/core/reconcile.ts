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

const LEASE_SECONDS = 15;
/** Bells come in swarms; a task that was woken runs once for all that rang within this time. */
const GATHER_MS = 100;

export function startReconcilers(definitions: readonly Reconciler[], services: () => Services, owner: string, log: Log): Reconciliation {
  interface Task {
    readonly definition: Reconciler;
    running: Promise<void> | null;
    again: boolean;
    gather: NodeJS.Timeout | null;
    timer: NodeJS.Timeout;
  }
  let closed = false;

  const runTask = (task: Task): Promise<void> => {
    if (task.running) {
      task.again = true;
      return task.running;
    }
    task.running = (async () => {
      do {
        task.again = false;
        try {
          if (await lead(services().db, task.definition.name, owner)) await task.definition.run(services());
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
    const task: Task = { definition, running: null, again: false, gather: null, timer };
    return task;
  });

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
      for (const { timer, gather } of tasks) {
        clearInterval(timer);
        if (gather) clearTimeout(gather);
      }
      await Promise.race([Promise.all(tasks.map(({ running }) => running)), new Promise((resolve) => setTimeout(resolve, 3000).unref())]);
    },
  };
}

/** Takes or keeps the lease of a task; true when this server leads it. */
async function lead(db: Database, name: string, owner: string): Promise<boolean> {
  const now = Date.now();
  return db.transact(async (tx) => {
    await tx.query('INSERT IGNORE INTO lease (name, owner, until) VALUES (?, ?, ?)', [name, owner, new Date(0)]);
    const row = await tx.findOne(leases, { where: { name }, lock: { mode: 'pessimistic_write' } });
    if (row && row.owner !== owner && row.until.getTime() > now) return false;
    await tx.update(leases, { name }, { owner, until: new Date(now + LEASE_SECONDS * 1000) });
    return true;
  });
}
