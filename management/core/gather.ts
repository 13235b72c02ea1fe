/** Many who ask for the same kind of thing at the same time are answered together. */
import { CloudError } from '../../protocol/errors.ts';
import type { Database } from './db.ts';

const TOGETHER_MAX = 200;

interface Waiting<K, V> {
  readonly key: K;
  readonly resolve: (value: V) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One question is answered at once; those that come while an answer is under way are the next question. So a thousand agents that come
 * back together cost a few statements, not thousands, and nobody is given what was read before he asked. `answer` gives one value for
 * each key, in their order; when it throws, all who asked with it hear that.
 */
export function gathered<K, V>(answer: (keys: readonly K[]) => Promise<readonly V[]>, togetherMax = TOGETHER_MAX): (key: K) => Promise<V> {
  const waiting: Waiting<K, V>[] = [];
  let running = false;
  const run = async (): Promise<void> => {
    while (waiting.length > 0) {
      const now = waiting.splice(0, togetherMax);
      try {
        const values = await answer(now.map(({ key }) => key));
        if (values.length !== now.length) throw new CloudError('Internal', 'those who asked together were not all answered');
        for (const [index, value] of values.entries()) now[index]?.resolve(value);
      } catch (error) {
        for (const { reject } of now) reject(error);
      }
    }
    running = false;
  };
  return (key) =>
    new Promise((resolve, reject) => {
      waiting.push({ key, resolve, reject });
      if (running) return;
      running = true;
      // Whoever asks in the same turn of the event loop comes along.
      setImmediate(() => void run());
    });
}

/** Rows that belong to a key, outside a transaction; each key's rows in the order in which `read` gives them. */
export function gatheredRows<K extends string, R>(
  read: (db: Database, keys: readonly K[]) => Promise<readonly R[]>,
  keyOf: (row: R) => K | null,
): (db: Database, key: K) => Promise<readonly R[]> {
  const byDatabase = new WeakMap<Database, (key: K) => Promise<readonly R[]>>();
  const readerOf = (db: Database): ((key: K) => Promise<readonly R[]>) => {
    const known = byDatabase.get(db);
    if (known) return known;
    const made = gathered<K, readonly R[]>(async (keys) => {
      const groups = new Map<K, R[]>(keys.map((key) => [key, []]));
      for (const row of await read(db, [...groups.keys()])) {
        const key = keyOf(row);
        if (key !== null) groups.get(key)?.push(row);
      }
      return keys.map((key) => groups.get(key) ?? []);
    });
    byDatabase.set(db, made);
    return made;
  };
  return (db, key) => readerOf(db)(key);
}
