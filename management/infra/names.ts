import { In } from 'typeorm';
import type { Table, Tx } from '../core/db.ts';

/** The rows with these ids, by id; one statement. */
export async function byId<T extends { id: string }>(tx: Tx, from: Table<T>, ids: readonly string[]): Promise<Map<string, T>> {
  if (ids.length === 0) return new Map();
  const rows = await tx.find(from, { where: { id: In([...new Set(ids)]) } as never });
  return new Map(rows.map((row) => [row.id, row]));
}
