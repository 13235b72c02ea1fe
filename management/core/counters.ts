import type { Tx } from './db.ts';

/** The next number of a counter, from 1. Two transactions never get the same; a rolled-back one gives its number back. */
export async function nextNumber(tx: Tx, name: string): Promise<number> {
  await tx.query('INSERT INTO counter (name, value) VALUES (?, 1) ON DUPLICATE KEY UPDATE value = value + 1', [name]);
  const [row] = await tx.query('SELECT value FROM counter WHERE name = ?', [name]);
  return Number(row.value);
}
