/** Where a machine goes, and the promise of capacity there. The promise is one guarded UPDATE, so no host is ever promised twice. */
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import type { Services } from '../core/services.ts';
import { cpuDisableThreshold, cpuOverprovisioning, memoryDisableThreshold, memoryOverprovisioning } from '../infra/index.ts';
import { hostsBeyondReach } from '../storage/index.ts';
import { type MachineRow, reservations } from './entities.ts';

export interface Candidate {
  readonly id: Id<'host'>;
  readonly name: string;
  readonly clusterId: Id<'cluster'>;
  readonly cpuCount: number;
  readonly cpuMhz: number;
  readonly cpuMhzFree: number;
  readonly memoryMib: number;
  readonly memoryMibFree: number;
  readonly tags: readonly string[];
}
export interface Wanted {
  readonly cpuCount: number;
  readonly cpuMhz: number;
  readonly memoryMib: number;
  readonly hostTags: readonly string[];
}

/** How many of the fitting hosts are compared: the better of a few random ones spreads as well as the best of all, at a fixed cost. */
const CHOICES = 3;

/** Why this host cannot take it, or null. */
export function refusal(host: Candidate, { cpuCount, cpuMhz, memoryMib, hostTags }: Wanted): string | null {
  const missing = hostTags.find((tag) => !host.tags.includes(tag));
  if (missing !== undefined) return `lacks the tag ${missing}`;
  if (host.cpuCount < cpuCount) return `has ${host.cpuCount} CPUs and ${cpuCount} are wanted`;
  if (host.cpuMhz < cpuMhz) return `has CPUs of ${host.cpuMhz} MHz and ${cpuMhz} are wanted`;
  if (host.memoryMibFree < memoryMib)
    return `has ${Math.max(0, Math.floor(host.memoryMibFree))} MiB of memory left and ${memoryMib} are wanted`;
  if (host.cpuMhzFree < cpuCount * cpuMhz)
    return `has ${Math.max(0, Math.floor(host.cpuMhzFree))} MHz of CPU left and ${cpuCount * cpuMhz} are wanted`;
  return null;
}

/** Fitting hosts, the preferred first: the emptiest of a few picked at random, then the others. */
export function order(fitting: readonly Candidate[], random: () => number): Candidate[] {
  const shuffled = [...fitting];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [shuffled[i], shuffled[j]] = [shuffled[j] as Candidate, shuffled[i] as Candidate];
  }
  const share = ({ memoryMib, memoryMibFree }: Candidate) => memoryMibFree / Math.max(1, memoryMib);
  const few = shuffled.slice(0, CHOICES).sort((a, b) => share(b) - share(a));
  return [...few, ...shuffled.slice(CHOICES)];
}

export interface PlaceRequest {
  readonly machine: MachineRow;
  readonly avoid: readonly Id<'host'>[];
  /** Only this host will do. */
  readonly hostId: Id<'host'> | null;
}

/**
 * Picks a host and reserves it for the machine, in the caller's transaction. An older reservation is given back first. Null when there is
 * no other than those to avoid.
 */
export async function reserve(
  tx: Tx,
  { settings }: Pick<Services, 'settings'>,
  { machine, avoid, hostId }: PlaceRequest,
): Promise<Id<'host'> | null> {
  await release(tx, machine.id);
  const rows: HostCapacity[] = await tx.query(
    `SELECT h.id, h.name, h.cluster_id, h.cpu_count, h.cpu_mhz, h.memory_mib, h.cpu_mhz_reserved, h.memory_mib_reserved, h.tags
       FROM host h JOIN agent a ON a.id = h.id JOIN cluster c ON c.id = h.cluster_id JOIN pod p ON p.id = h.pod_id
      WHERE h.zone_id = ? AND h.removed_at IS NULL AND a.state = 'Up' AND h.resource_state = 'Enabled' AND h.hypervisor = ?
        AND c.allocation_state = 'Enabled' AND p.allocation_state = 'Enabled' AND (? IS NULL OR h.id = ?)`,
    [machine.zoneId, machine.hypervisor, hostId, hostId],
  );
  const candidates = rows.map((row) => candidate(row, settings));
  const wanted: Wanted = { ...machine, hostTags: (machine.hostTags ?? '').split(',').filter((tag) => tag !== '') };
  const beyondReach = await hostsBeyondReach(tx, machine.id);
  const judged = candidates.map((host) => ({
    host,
    why: beyondReach.has(host.id) ? "does not reach the storage of the machine's volumes" : refusal(host, wanted),
  }));
  for (const host of order(
    judged.filter(({ host, why }) => why === null && !avoid.includes(host.id)).map(({ host }) => host),
    Math.random,
  )) {
    if (await promise(tx, machine, host)) return host.id;
  }
  if (avoid.length > 0) return null;
  throw noHost(judged);
}

/** Takes the room, if it is still there: a guarded UPDATE and the reservation row. */
async function promise(tx: Tx, machine: MachineRow, { id, cpuMhzFree, memoryMibFree }: Candidate): Promise<boolean> {
  const cpuMhz = machine.cpuCount * machine.cpuMhz;
  const { affectedRows } = await tx.query(
    `UPDATE host SET cpu_mhz_reserved = cpu_mhz_reserved + ?, memory_mib_reserved = memory_mib_reserved + ?
      WHERE id = ? AND resource_state = 'Enabled' AND memory_mib_reserved + ? <= ? AND cpu_mhz_reserved + ? <= ?`,
    [
      cpuMhz,
      machine.memoryMib,
      id,
      machine.memoryMib,
      await limit(tx, id, 'memory_mib_reserved', memoryMibFree),
      cpuMhz,
      await limit(tx, id, 'cpu_mhz_reserved', cpuMhzFree),
    ],
  );
  if (affectedRows !== 1) return false;
  await tx.insert(reservations, { machineId: machine.id, hostId: id, cpuMhz, memoryMib: machine.memoryMib, createdAt: new Date() });
  return true;
}

/** The ceiling of a reserved column: what was reserved when the candidate was read, plus what was free then. */
async function limit(tx: Tx, id: Id<'host'>, column: 'memory_mib_reserved' | 'cpu_mhz_reserved', free: number): Promise<number> {
  const [row] = await tx.query(`SELECT ${column} AS reserved FROM host WHERE id = ? FOR UPDATE`, [id]);
  return Number(row.reserved) + free;
}

/** Gives the machine's reservation back, if it has one. */
export async function release(tx: Tx, machineId: Id<'machine'>): Promise<void> {
  const held = await tx.findOne(reservations, { where: { machineId }, lock: { mode: 'pessimistic_write' } });
  if (!held) return;
  await tx.delete(reservations, { machineId });
  await tx.query('UPDATE host SET cpu_mhz_reserved = cpu_mhz_reserved - ?, memory_mib_reserved = memory_mib_reserved - ? WHERE id = ?', [
    held.cpuMhz,
    held.memoryMib,
    held.hostId,
  ]);
}

/** Reserves exactly this host whatever is free there: the machine runs there already, as its power report says. */
export async function reserveAsSeen(tx: Tx, machine: MachineRow, hostId: Id<'host'>): Promise<void> {
  await release(tx, machine.id);
  const cpuMhz = machine.cpuCount * machine.cpuMhz;
  await tx.query('UPDATE host SET cpu_mhz_reserved = cpu_mhz_reserved + ?, memory_mib_reserved = memory_mib_reserved + ? WHERE id = ?', [
    cpuMhz,
    machine.memoryMib,
    hostId,
  ]);
  await tx.insert(reservations, { machineId: machine.id, hostId, cpuMhz, memoryMib: machine.memoryMib, createdAt: new Date() });
}

interface HostCapacity {
  id: Id<'host'>;
  name: string;
  cluster_id: Id<'cluster'>;
  cpu_count: number;
  cpu_mhz: number;
  memory_mib: number;
  cpu_mhz_reserved: string;
  memory_mib_reserved: string;
  tags: string | null;
}
function candidate(row: HostCapacity, settings: Services['settings']): Candidate {
  const at = { cluster: row.cluster_id };
  const cpuLimit = row.cpu_count * row.cpu_mhz * settings.get(cpuOverprovisioning, at) * settings.get(cpuDisableThreshold, at);
  const memoryLimit = row.memory_mib * settings.get(memoryOverprovisioning, at) * settings.get(memoryDisableThreshold, at);
  return {
    id: row.id,
    name: row.name,
    clusterId: row.cluster_id,
    cpuCount: row.cpu_count,
    cpuMhz: row.cpu_mhz,
    cpuMhzFree: cpuLimit - Number(row.cpu_mhz_reserved),
    memoryMib: row.memory_mib,
    memoryMibFree: memoryLimit - Number(row.memory_mib_reserved),
    tags: (row.tags ?? '').split(',').filter((tag) => tag !== ''),
  };
}

/** What is short, without names of hosts: a tenant reads it too. */
function noHost(judged: readonly Judged[]): CloudError {
  if (judged.length === 0) return new CloudError('InsufficientCapacity', 'no host of this zone is up and enabled for this kind of machine');
  const reasons = new Map<string, number>();
  // The host that comes nearest speaks for the others: of those that are short of the same thing, the one with the most of it.
  const byRoom = [...judged].sort((a, b) => b.host.memoryMibFree - a.host.memoryMibFree);
  const seen = new Map<string, string>();
  for (const { why } of byRoom) {
    const reason = why ?? 'was taken by another machine meanwhile';
    const about = reason.replace(/^has -?\d+/, 'has …');
    if (!seen.has(about)) seen.set(about, reason);
    reasons.set(about, (reasons.get(about) ?? 0) + 1);
  }
  const told = [...reasons].map(([about, count]) => {
    const reason = seen.get(about) ?? about;
    return count === 1 ? `a host ${reason}` : `${count} hosts cannot take it, the best of which ${reason}`;
  });
  return new CloudError('InsufficientCapacity', `no host has room for this machine: ${told.slice(0, 5).join('; ')}`, {
    hosts: judged.map(({ host, why }) => `${host.name} ${why}`),
  });
}
interface Judged {
  readonly host: Candidate;
  readonly why: string | null;
}
