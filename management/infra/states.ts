/** Guarded moves of states that stand in a column of another name than `state`. */
import { CloudError } from '../../protocol/errors.ts';
import { allocationStates, hostResourceStates } from '../../protocol/states/host.ts';
import type { Table, Tx } from '../core/db.ts';
import { type HostRow, hosts } from './entities.ts';

/** As `move` of core/db.ts: one guarded UPDATE, so either this caller moved the object or someone else did first. */
async function moveColumn<T extends { id: string; generation: number }>(
  tx: Tx,
  where: Table<T>,
  column: keyof T & string,
  [noun, from, to]: readonly [noun: string, from: string, to: string],
  row: T,
  changes: Partial<T>,
): Promise<T> {
  const next = { ...changes, [column]: to, generation: row.generation + 1 };
  const { affected } = await tx.update(where, { id: row.id, [column]: from, generation: row.generation } as never, next as never);
  if (affected !== 1) throw new CloudError('Conflict', `the ${noun} changed meanwhile; please try again`, { id: row.id, to });
  return { ...row, ...next };
}

export const moveHost = (
  tx: Tx,
  row: HostRow,
  event: 'enable' | 'disable' | 'prepareMaintenance' | 'maintain' | 'cancel' | 'fail',
  changes: Partial<HostRow> = {},
): Promise<HostRow> =>
  moveColumn(tx, hosts, 'resourceState', ['host', row.resourceState, hostResourceStates.next(row.resourceState, event)], row, changes);

interface Allocatable {
  id: string;
  generation: number;
  allocationState: 'Enabled' | 'Disabled';
}
/** Enabled or Disabled, for zones, pods and clusters. Being in that state already is no change. */
export const moveAllocation = async <T extends Allocatable>(
  tx: Tx,
  where: Table<T>,
  row: T,
  to: 'Enabled' | 'Disabled',
  changes: Partial<T> = {},
): Promise<T> => {
  if (row.allocationState === to) return row;
  const next = allocationStates.next(row.allocationState, to === 'Enabled' ? 'enable' : 'disable');
  return moveColumn(tx, where, 'allocationState', [where.options.name, row.allocationState, next], row, changes);
};
