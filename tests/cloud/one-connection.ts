/**
 * A transaction that asks for a second connection of the pool can wait for ever, when all others are held by those who wait for its
 * locks. In tests such a question fails at once, even when the pool still has one left.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Database } from '../../management/core/db.ts';

const inside = new AsyncLocalStorage<{ open: boolean }>();

export function guardConnections(db: Database): void {
  const { read, rows, transact } = db;
  const mustBeOutside = () => {
    // What a transaction has set off goes on in its context after it has ended.
    if (inside.getStore()?.open) throw new Error('a transaction asks for a second connection to the database');
  };
  Object.defineProperties(db, {
    read: {
      get: () => {
        mustBeOutside();
        return read;
      },
    },
    rows: {
      value: (...given: Parameters<Database['rows']>) => {
        mustBeOutside();
        return rows(...given);
      },
    },
    transact: {
      value: (work: Parameters<Database['transact']>[0]) => {
        mustBeOutside();
        return transact(async (tx) => {
          const mark = { open: true };
          try {
            return await inside.run(mark, () => work(tx));
          } finally {
            mark.open = false;
          }
        });
      },
    },
  });
}
