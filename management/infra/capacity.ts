/** What hosts have and have promised, summed up by zone, pod or cluster. */
import type { Database } from '../core/db.ts';
import type { Settings } from '../core/settings.ts';
import { type Fields, f } from '../core/view.ts';
import { cpuOverprovisioning, memoryOverprovisioning } from './settings.ts';

/** Numbers and names of CloudStack's capacity types, as far as this area knows them. */
export const capacityTypes = {
  memory: { type: 0, name: 'MEMORY' },
  cpu: { type: 1, name: 'CPU' },
  privateIp: { type: 5, name: 'PRIVATE_IP' },
} as const;

export interface Capacity {
  readonly type: number;
  readonly name: string;
  /** In bytes, MHz or addresses. */
  readonly total: number;
  readonly used: number;
}
export type CapacityScope = 'zone' | 'pod' | 'cluster';

/** `12.5` for an eighth. */
export const percentOf = (used: number, total: number): string => (total <= 0 ? '0' : String(Math.round((used / total) * 10_000) / 100));

export const capacityFields: Fields<Capacity> = {
  type: f.short('number of the capacity type', ({ type }) => type),
  name: f.string('name of the capacity type', ({ name }) => name),
  capacitytotal: f.long('what there is: bytes, MHz or addresses, with overprovisioning', ({ total }) => total),
  capacityused: f.long('what is promised or in use', ({ used }) => used),
  percentused: f.string('used in per cent of the total', ({ used, total }) => percentOf(used, total)),
};

interface HostSums {
  scope: string;
  cluster: string;
  cpuMhz: string;
  cpuMhzReserved: string;
  memoryMib: string;
  memoryMibReserved: string;
}

const BYTES_PER_MIB = 1024 ** 2;

/** Capacities by id of the scope. Two statements, whatever the number of ids. */
export async function capacitiesOf(
  { db, settings }: { readonly db: Database; readonly settings: Settings },
  scope: CapacityScope,
  ids: readonly string[],
): Promise<Map<string, Capacity[]>> {
  const found = new Map<string, Capacity[]>(ids.map((id) => [id, []]));
  if (ids.length === 0) return found;
  const sums = await db.rows<HostSums>(
    `SELECT ${scope}_id AS scope, cluster_id AS cluster, SUM(cpu_count * cpu_mhz) AS cpuMhz, SUM(cpu_mhz_reserved) AS cpuMhzReserved,
            SUM(memory_mib) AS memoryMib, SUM(memory_mib_reserved) AS memoryMibReserved
       FROM host WHERE ${scope}_id IN (?) AND removed_at IS NULL AND resource_state = 'Enabled' GROUP BY ${scope}_id, cluster_id`,
    [ids],
  );
  for (const [id, capacities] of found) {
    let [cpu, cpuUsed, memory, memoryUsed] = [0, 0, 0, 0];
    for (const row of sums) {
      if (row.scope !== id) continue;
      const at = { cluster: row.cluster };
      cpu += Number(row.cpuMhz) * settings.get(cpuOverprovisioning, at);
      memory += Number(row.memoryMib) * settings.get(memoryOverprovisioning, at);
      cpuUsed += Number(row.cpuMhzReserved);
      memoryUsed += Number(row.memoryMibReserved);
    }
    capacities.push({ ...capacityTypes.memory, total: Math.floor(memory * BYTES_PER_MIB), used: memoryUsed * BYTES_PER_MIB });
    capacities.push({ ...capacityTypes.cpu, total: Math.floor(cpu), used: cpuUsed });
  }
  // Management addresses are of pods, so a cluster has none.
  if (scope === 'cluster') return found;
  const column = scope === 'zone' ? 'zone_id' : 'scope_id';
  const addresses = await db.rows<{ scope: string; total: string; used: string }>(
    `SELECT ${column} AS scope, COUNT(*) AS total, SUM(nic_id IS NOT NULL) AS used FROM private_address
      WHERE kind = 'management' AND ${column} IN (?) GROUP BY ${column}`,
    [ids],
  );
  for (const { scope: id, total, used } of addresses)
    found.get(id)?.push({ ...capacityTypes.privateIp, total: Number(total), used: Number(used) });
  return found;
}
