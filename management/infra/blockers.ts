/** What stands in the way of removing something: named and counted, so that the operator knows what to remove first. */
import { CloudError } from '../../protocol/errors.ts';
import type { Tx } from '../core/db.ts';

export interface Blocker {
  readonly one: string;
  readonly many: string;
  /** Counts as `n`. It may read tables of areas further up, which are only looked at here. */
  readonly sql: string;
  readonly values: readonly unknown[];
}

const list = (words: readonly string[]): string =>
  words.length < 2 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;

/** Throws InUse while there is any. */
export async function mustBeEmpty(tx: Tx, what: string, blockers: readonly Blocker[]): Promise<void> {
  const found: string[] = [];
  for (const { one, many, sql, values } of blockers) {
    const [row] = await tx.query(sql, [...values]);
    const count = Number(row?.n ?? 0);
    if (count > 0) found.push(count === 1 ? `1 ${one}` : `${count} ${many}`);
  }
  if (found.length > 0) throw new CloudError('InUse', `${what} cannot be removed because it still has ${list(found)}; remove them first`);
}
