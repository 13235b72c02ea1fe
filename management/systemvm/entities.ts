import type { SystemVmKindName } from '../../protocol/kinds.ts';
import type { Id } from '../../protocol/schema.ts';
import { column, table } from '../core/db.ts';

/** What a machine of ours is for. Its link state is its row in `agent` (same id). */
export interface SystemVmRow {
  /** The machine's id. */
  id: Id<'machine'>;
  kind: SystemVmKindName;
  zoneId: Id<'zone'>;
  /** For a router. */
  networkId: Id<'network'> | null;
  /** No new sessions; goes when the last has ended. */
  draining: boolean;
  /** Stopped by an operator and to be kept; any other stopped one is replaced. */
  keepStopped: boolean;
  /** Payload version it was started with. */
  version: string | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const systemVms = table<SystemVmRow>(
  'system_vm',
  {
    id: column.key(),
    kind: column.word(32),
    zoneId: column.id(),
    networkId: column.nullable(column.id()),
    draining: column.boolean(),
    keepStopped: column.boolean(),
    version: column.nullable(column.string(80)),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  {
    indices: [
      ['zoneId', 'kind', 'removedAt'],
      ['networkId', 'removedAt'],
    ],
  },
);
export const systemVmTables = [systemVms];
