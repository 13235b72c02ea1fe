import type { Id } from '../../protocol/schema.ts';
import type { MachineState, Power } from '../../protocol/states/machine.ts';
import { column, table } from '../core/db.ts';

/** Anything that boots: guests and system VMs. What a guest is to its user stands in `vm`, what a system VM is for in `system_vm`. */
export interface MachineRow {
  id: Id<'machine'>;
  kind: 'guest' | 'console-proxy' | 'secondary-storage' | 'router';
  /** i-2-10-VM, v-1-VM, … */
  instanceName: string;
  accountId: Id<'account'>;
  domainId: Id<'domain'>;
  zoneId: Id<'zone'>;
  podId: Id<'pod'> | null;
  hypervisor: string;
  state: MachineState;
  generation: number;
  /** What the host said last. */
  power: Power;
  powerAt: Date | null;
  hostId: Id<'host'> | null;
  lastHostId: Id<'host'> | null;
  cpuCount: number;
  cpuMhz: number;
  memoryMib: number;
  serviceOfferingId: Id<'serviceOffering'>;
  templateId: Id<'template'> | null;
  isoId: Id<'template'> | null;
  haEnabled: boolean;
  hostTags: string | null;
  /** Sealed; new at every start. */
  vncPassword: string | null;
  vncPort: number | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const machines = table<MachineRow>(
  'machine',
  {
    id: column.key(),
    kind: column.word(32),
    instanceName: column.word(),
    accountId: column.id(),
    domainId: column.id(),
    zoneId: column.id(),
    podId: column.nullable(column.id()),
    hypervisor: column.word(32),
    state: column.word(16),
    generation: column.int(),
    power: column.word(16),
    powerAt: column.nullable(column.time()),
    hostId: column.nullable(column.id()),
    lastHostId: column.nullable(column.id()),
    cpuCount: column.int(),
    cpuMhz: column.int(),
    memoryMib: column.int(),
    serviceOfferingId: column.id(),
    templateId: column.nullable(column.id()),
    isoId: column.nullable(column.id()),
    haEnabled: column.boolean(),
    hostTags: column.nullable(column.string()),
    vncPassword: column.nullable(column.text()),
    vncPort: column.nullable(column.int()),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  {
    indices: [
      ['hostId', 'state'],
      ['kind', 'zoneId', 'state'],
      ['accountId', 'removedAt'],
    ],
    uniques: [['instanceName']],
  },
);

/** Capacity of a host promised to a machine; the host's reserved columns are the sums. */
export interface ReservationRow {
  machineId: Id<'machine'>;
  hostId: Id<'host'>;
  cpuMhz: number;
  memoryMib: number;
  createdAt: Date;
}
export const reservations = table<ReservationRow>(
  'reservation',
  {
    machineId: column.key(),
    hostId: column.id(),
    cpuMhz: column.int(),
    memoryMib: column.int(),
    createdAt: column.time(),
  },
  { indices: [['hostId']] },
);
export const machineTables = [machines, reservations];
