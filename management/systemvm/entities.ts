import type { SystemVmKindName } from '../../protocol/kinds.ts';
import type { BootStage } from '../../protocol/messages/systemvm.ts';
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
  /** SHA-256 of the public half of the cloud's ssh key that it was told last. */
  sshKeySha256: string | null;
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
    sshKeySha256: column.nullable(column.word()),
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

/** The last boot of a system VM as its serial console and its agent tell it. Written by observation alone; no saga waits for it. */
export interface SystemVmBootRow {
  /** The machine's id. */
  id: Id<'machine'>;
  hostId: Id<'host'> | null;
  /** The generation of the machine when it was Starting; null where the boot was over before it was seen. */
  machineGeneration: number | null;
  outcome: 'Booting' | 'Up' | 'Failed';
  /** Of the agent's certificate: every boot has a new one. */
  certificateSerial: string | null;
  stages: BootStage[];
  failedStage: string | null;
  reason: string | null;
  /** How often the stage has failed in this boot. */
  failures: number;
  /** The end of the serial console when the boot had failed. */
  lastWords: string[];
  startedAt: Date;
  endedAt: Date | null;
}
export const systemVmBoots = table<SystemVmBootRow>(
  'system_vm_boot',
  {
    id: column.key(),
    hostId: column.nullable(column.id()),
    machineGeneration: column.nullable(column.int()),
    outcome: column.word(16),
    certificateSerial: column.nullable(column.word()),
    stages: column.json(),
    failedStage: column.nullable(column.word()),
    reason: column.nullable(column.string(512)),
    failures: column.int(),
    lastWords: column.json(),
    startedAt: column.time(),
    endedAt: column.nullable(column.time()),
  },
  { indices: [['outcome']] },
);
export const systemVmTables = [systemVms, systemVmBoots];
