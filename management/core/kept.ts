/** Values the cloud makes once for itself and keeps in the database. */

import { parse, s } from '../../protocol/schema.ts';
import type { AuthorityStore } from './certificates.ts';
import type { Database } from './db.ts';
import { kept } from './tables.ts';

/** What is kept under this name; made by `make` when there is nothing yet. With two first starts at once, the first one's counts. */
export async function keepOnce(db: Database, name: string, make: () => Promise<string> | string): Promise<string> {
  const known = await db.read.findOneBy(kept, { name });
  if (known) return known.value;
  const value = await make();
  await db.transact((tx) => tx.query('INSERT IGNORE INTO kept (name, value) VALUES (?, ?)', [name, value]));
  return (await db.read.findOneByOrFail(kept, { name })).value;
}

const AuthorityShape = s.object({ certificatePem: s.text({ max: 20_000 }), sealedKey: s.text({ max: 20_000 }) });
const read = (text: string) => parse(AuthorityShape, JSON.parse(text), 'the kept certificate authority');

export const authorityStore = (db: Database): AuthorityStore => ({
  read: async () => {
    const row = await db.read.findOneBy(kept, { name: 'authority' });
    return row ? read(row.value) : null;
  },
  writeOnce: async (authority) => read(await keepOnce(db, 'authority', () => JSON.stringify(authority))),
});
