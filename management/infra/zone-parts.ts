/** What a zone must have before it can be Enabled, and what it lacks. */
import type { Tx } from '../core/db.ts';
import type { HypervisorName, TrafficTypeName } from './entities.ts';

interface Parts {
  readonly pods: number;
  readonly clusters: number;
  readonly physicalNetworks: number;
  readonly traffic: readonly TrafficTypeName[];
  /** Physical networks that real hosts would have to keep apart by VLAN. */
  readonly vlanNetworks: readonly string[];
}

const needed: readonly TrafficTypeName[] = ['Guest', 'Management', 'Public'];

/** Sentences, each naming one missing part and the command that makes it. Empty: nothing is missing. */
export function missingParts({ pods, clusters, physicalNetworks, traffic, vlanNetworks }: Parts): string[] {
  return [
    ...(pods === 0 ? ['an enabled pod (createPod)'] : []),
    ...(clusters === 0 ? ['an enabled cluster (addCluster)'] : []),
    ...(physicalNetworks === 0 ? ['an enabled physical network (createPhysicalNetwork, updatePhysicalNetwork state=Enabled)'] : []),
    ...needed
      .filter((type) => !traffic.includes(type))
      .map((type) => `the traffic type ${type} on an enabled physical network (addTrafficType)`),
    ...vlanNetworks.map(
      (name) => `the isolation method VXLAN on the physical network ${name}: KVM hosts know no other (createPhysicalNetwork)`,
    ),
  ];
}

/** The missing parts by zone, in three statements whatever the number of zones. */
export async function missingPartsOf(tx: Tx, zoneIds: readonly string[]): Promise<Map<string, string[]>> {
  if (zoneIds.length === 0) return new Map();
  const podRows: { zone: string }[] = await tx.query(
    `SELECT zone_id AS zone FROM pod WHERE zone_id IN (?) AND removed_at IS NULL AND allocation_state = 'Enabled'`,
    [zoneIds],
  );
  const clusterRows: { zone: string; hypervisor: HypervisorName }[] = await tx.query(
    `SELECT zone_id AS zone, hypervisor FROM cluster WHERE zone_id IN (?) AND removed_at IS NULL AND allocation_state = 'Enabled'`,
    [zoneIds],
  );
  const networkRows: { zone: string; name: string; methods: string; traffic: TrafficTypeName | null }[] = await tx.query(
    `SELECT n.zone_id AS zone, n.name AS name, n.isolation_methods AS methods, t.traffic_type AS traffic FROM physical_network n
       LEFT JOIN traffic_type t ON t.physical_network_id = n.id AND t.removed_at IS NULL
      WHERE n.zone_id IN (?) AND n.removed_at IS NULL AND n.state = 'Enabled'`,
    [zoneIds],
  );
  return new Map(
    zoneIds.map((id) => {
      const networks = networkRows.filter(({ zone }) => zone === id);
      const clusters = clusterRows.filter(({ zone }) => zone === id);
      const real = clusters.some(({ hypervisor }) => hypervisor === 'KVM');
      const parts = {
        pods: podRows.filter(({ zone }) => zone === id).length,
        clusters: clusters.length,
        physicalNetworks: networks.length,
        traffic: networks.flatMap(({ traffic }) => traffic ?? []),
        vlanNetworks: networks.flatMap(({ name, methods, traffic }) =>
          real && traffic === 'Guest' && methods.includes('VLAN') ? name : [],
        ),
      };
      return [id, missingParts(parts)];
    }),
  );
}
