import { nextNumber } from '../core/counters.ts';
import type { Tx } from '../core/db.ts';

/** Whoever makes one of these waits here for the others, so that a check for duplicates holds until the commit. Returns the turn's number. */
export const takeTurn = (tx: Tx, what: 'zone' | 'host'): Promise<number> => nextNumber(tx, `turn.${what}`);
