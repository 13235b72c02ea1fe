import { command, reply } from '../../core/command.ts';
import type { Context } from '../../core/context.ts';
import { pageParams } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { f, view } from '../../core/view.ts';
import { clusterKind, cpuOverprovisioning, memoryOverprovisioning, podKind, zoneKind } from '../../infra/index.ts';
import { storageOverprovisioning } from '../../storage/index.ts';

/** Numbers of the capacity types, as CloudStack has them. */
const types = {
  memory: [0, 'MEMORY'],
  cpu: [1, 'CPU'],
  storage: [2, 'STORAGE'],
  storageAllocated: [3, 'STORAGE_ALLOCATED'],
  publicIp: [4, 'VIRTUAL_NETWORK_PUBLIC_IP'],
  privateIp: [5, 'PRIVATE_IP'],
  secondaryStorage: [6, 'SECONDARY_STORAGE'],
  vlan: [7, 'VLAN'],
} as const;

interface CapacityShown {
  readonly type: number;
  readonly name: string;
  readonly zoneId: string;
  readonly zoneName: string;
  readonly podId: string | null;
  readonly podName: string | null;
  readonly clusterId: string | null;
  readonly clusterName: string | null;
  readonly total: number;
  readonly used: number;
}
const percent = ({ used, total }: CapacityShown) => (total > 0 ? (100 * used) / total : 0);
const capacityView = view<CapacityShown>('CapacityResponse', 'capacity', {
  type: { ...f.integer<CapacityShown>('the number of the capacity type', (row) => row.type), type: 'short' },
  name: f.string('the name of the capacity type', (row) => row.name),
  zoneid: f.string('the zone', (row) => row.zoneId),
  zonename: f.string('the name of the zone', (row) => row.zoneName),
  podid: f.string('the pod', (row) => row.podId),
  podname: f.string('the name of the pod', (row) => row.podName),
  clusterid: f.string('the cluster', (row) => row.clusterId),
  clustername: f.string('the name of the cluster', (row) => row.clusterName),
  capacityused: f.long('how much is used', (row) => Math.round(row.used)),
  capacityallocated: f.long('how much is promised', (row) => Math.round(row.used)),
  capacitytotal: f.long('how much there is', (row) => Math.round(row.total)),
  percentused: f.string('how much is used, in percent', (row) => percent(row).toFixed(2)),
});

export const listCapacity = command({
  name: 'listCapacity',
  about: 'Shows what zones, pods and clusters have, have promised and have left.',
  access: 'admin',
  params: {
    ...pageParams,
    zoneid: p.entity('only of this zone', zoneKind, 'list'),
    podid: p.entity('only of this pod', podKind, 'list'),
    clusterid: p.entity('only of this cluster', clusterKind, 'list'),
    type: p.integer('only of this capacity type', { min: 0, max: 100 }),
    sortby: p.word('sorted by', ['usage']),
  },
  reply: reply.list(capacityView),
  run: async (context, { zoneid, podid, clusterid, type, sortby, page, pagesize, keyword }) => {
    const all = (await capacities(context))
      .filter(
        (row) =>
          (!zoneid || row.zoneId === zoneid.id) && (!podid || row.podId === podid.id) && (!clusterid || row.clusterId === clusterid.id),
      )
      .filter((row) => (type === undefined || row.type === type) && (!keyword || row.name.includes(keyword.toUpperCase())));
    const sorted = sortby ? [...all].sort((a, b) => percent(b) - percent(a)) : all;
    const size = pagesize !== undefined && pagesize > 0 ? pagesize : sorted.length;
    return { count: sorted.length, rows: sorted.slice(((page ?? 1) - 1) * size, (page ?? 1) * size) };
  },
});

type Place = Omit<CapacityShown, 'type' | 'name' | 'total' | 'used'>;
const of = (what: keyof typeof types, place: Place, total: number, used: number): CapacityShown => ({
  ...place,
  type: types[what][0],
  name: types[what][1],
  total,
  used,
});
const inZone = ({ zoneId, zoneName }: { zoneId: string; zoneName: string }): Place => ({
  zoneId,
  zoneName,
  podId: null,
  podName: null,
  clusterId: null,
  clusterName: null,
});
type Sums = { zoneId: string; zoneName: string; total: string | null; used: string | null };

async function capacities({ db, settings }: Context): Promise<CapacityShown[]> {
  const clusters = await db.rows<Place & { clusterId: string; cpuTotal: string; cpuUsed: string; memoryTotal: string; memoryUsed: string }>(
    `SELECT z.id AS zoneId, z.name AS zoneName, p.id AS podId, p.name AS podName, c.id AS clusterId, c.name AS clusterName, SUM(h.cpu_count * h.cpu_mhz) AS cpuTotal,
            SUM(h.cpu_mhz_reserved) AS cpuUsed, SUM(h.memory_mib) AS memoryTotal, SUM(h.memory_mib_reserved) AS memoryUsed
       FROM host h JOIN cluster c ON c.id = h.cluster_id JOIN pod p ON p.id = h.pod_id JOIN zone z ON z.id = h.zone_id
      WHERE h.removed_at IS NULL AND h.resource_state = 'Enabled' GROUP BY z.id, z.name, p.id, p.name, c.id, c.name`,
  );
  const pools = await db.rows<Place & { id: string; totalBytes: string; usedBytes: string; allocatedBytes: string }>(
    `SELECT s.id AS id, z.id AS zoneId, z.name AS zoneName, p.id AS podId, p.name AS podName, c.id AS clusterId, c.name AS clusterName, s.total_bytes AS totalBytes, s.used_bytes AS usedBytes,
            s.allocated_bytes AS allocatedBytes
       FROM storage_pool s JOIN zone z ON z.id = s.zone_id LEFT JOIN pod p ON p.id = s.pod_id LEFT JOIN cluster c ON c.id = s.cluster_id WHERE s.removed_at IS NULL`,
  );
  const zoneSum = (sql: string) => db.rows<Sums>(sql);
  const stores = await zoneSum(
    'SELECT z.id AS zoneId, z.name AS zoneName, SUM(s.total_bytes) AS total, SUM(s.used_bytes) AS used FROM image_store s JOIN zone z ON z.id = s.zone_id WHERE s.removed_at IS NULL GROUP BY z.id, z.name',
  );
  const publicIps = await zoneSum(
    "SELECT z.id AS zoneId, z.name AS zoneName, COUNT(*) AS total, SUM(p.state <> 'Free') AS used FROM public_ip p JOIN zone z ON z.id = p.zone_id GROUP BY z.id, z.name",
  );
  const privateIps = await db.rows<Sums & { podId: string; podName: string }>(
    `SELECT z.id AS zoneId, z.name AS zoneName, p.id AS podId, p.name AS podName, COUNT(*) AS total, SUM(a.nic_id IS NOT NULL) AS used
       FROM private_address a JOIN pod p ON p.id = a.scope_id JOIN zone z ON z.id = p.zone_id WHERE a.kind = 'management' GROUP BY z.id, z.name, p.id, p.name`,
  );
  const vnets = await zoneSum(
    `SELECT z.id AS zoneId, z.name AS zoneName, SUM(COALESCE(p.vnet_end - p.vnet_start + 1, 0)) AS total,
            (SELECT COUNT(*) FROM network n WHERE n.zone_id = z.id AND n.vni IS NOT NULL AND n.removed_at IS NULL) AS used
       FROM physical_network p JOIN zone z ON z.id = p.zone_id WHERE p.removed_at IS NULL GROUP BY z.id, z.name`,
  );
  const number = (value: string | null) => Number(value ?? 0);
  return [
    ...clusters.flatMap((row) => {
      const at = { cluster: row.clusterId };
      return [
        of('memory', row, number(row.memoryTotal) * 2 ** 20 * settings.get(memoryOverprovisioning, at), number(row.memoryUsed) * 2 ** 20),
        of('cpu', row, number(row.cpuTotal) * settings.get(cpuOverprovisioning, at), number(row.cpuUsed)),
      ];
    }),
    ...pools.flatMap((row) => [
      of('storage', row, number(row.totalBytes), number(row.usedBytes)),
      of(
        'storageAllocated',
        row,
        number(row.totalBytes) * settings.get(storageOverprovisioning, { zone: row.zoneId, storagepool: row.id }),
        number(row.allocatedBytes),
      ),
    ]),
    ...stores.map((row) => of('secondaryStorage', inZone(row), number(row.total), number(row.used))),
    ...publicIps.map((row) => of('publicIp', inZone(row), number(row.total), number(row.used))),
    ...privateIps.map((row) =>
      of('privateIp', { ...inZone(row), podId: row.podId, podName: row.podName }, number(row.total), number(row.used)),
    ),
    ...vnets.map((row) => of('vlan', inZone(row), number(row.total), number(row.used))),
  ];
}
