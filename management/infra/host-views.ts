import { In } from 'typeorm';
import { agentStates } from '../../protocol/states/host.ts';
import type { Services } from '../core/services.ts';
import { type AgentRow, agents, managementServers } from '../core/tables.ts';
import { f, view } from '../core/view.ts';
import { percentOf } from './capacity.ts';
import { type ClusterRow, clusters, type HostRow, hosts, type PodRow, pods, type ZoneRow, zones } from './entities.ts';
import { byId } from './names.ts';
import { cpuDisableThreshold, cpuOverprovisioning, memoryDisableThreshold, memoryOverprovisioning } from './settings.ts';

export const hostDetailNames = ['all', 'capacity', 'events', 'stats', 'min'] as const;
export type HostDetailName = (typeof hostDetailNames)[number];

export interface ShownHost {
  readonly id: HostRow['id'];
  readonly host: HostRow;
  /** Null only when somebody has taken the row away meanwhile. */
  readonly agent: AgentRow | null;
  readonly zone: ZoneRow | null;
  readonly pod: PodRow | null;
  readonly cluster: ClusterRow | null;
  readonly serverName: string | null;
  readonly capacity: HostCapacity | null;
  readonly withEvents: boolean;
}
export interface HostCapacity {
  readonly cpuMhz: number;
  readonly cpuMhzOverprovisioned: number;
  readonly cpuMhzReserved: number;
  readonly memoryBytes: number;
  readonly memoryBytesOverprovisioned: number;
  readonly memoryBytesReserved: number;
  /** Below the thresholds up to which it takes new machines. */
  readonly isEnough: boolean;
}

const BYTES_PER_MIB = 1024 ** 2;
const percent = (used: number, total: number): string => `${percentOf(used, total)}%`;

/** States in which an agent's link is in use or being set up. */
const linked: readonly AgentRow['state'][] = ['Creating', 'Connecting', 'Up'];

export const hostView = view<ShownHost>('HostResponse', 'host', {
  id: f.string('id of the host', ({ id }) => id),
  name: f.string('name of the host', ({ host }) => host.name),
  state: f.string('state of its link: Creating, Connecting, Up, Alert, Disconnected, Down or Removed', ({ agent }) => agent?.state),
  resourcestate: f.string('what the operator wants of it', ({ host }) => host.resourceState),
  type: f.string('always Routing: it runs machines', () => 'Routing'),
  ipaddress: f.string('its management address', ({ host }) => host.address),
  zoneid: f.string('id of its zone', ({ host }) => host.zoneId),
  zonename: f.string('name of its zone', ({ zone }) => zone?.name),
  podid: f.string('id of its pod', ({ host }) => host.podId),
  podname: f.string('name of its pod', ({ pod }) => pod?.name),
  clusterid: f.string('id of its cluster', ({ host }) => host.clusterId),
  clustername: f.string('name of its cluster', ({ cluster }) => cluster?.name),
  clustertype: f.string('always CloudManaged', ({ cluster }) => cluster?.clusterType),
  hypervisor: f.string('what runs its machines', ({ host }) => host.hypervisor),
  hypervisorversion: f.string('version of QEMU', ({ host }) => host.description?.qemuVersion),
  version: f.string('version of its agent', ({ agent }) => agent?.version),
  arch: f.string('processor architecture', ({ host }) => host.description?.architecture),
  capabilities: f.string('hvm: machines need not know that they are virtual', ({ host }) => (host.description ? 'hvm' : null)),
  cpunumber: f.integer('number of its CPUs', ({ host }) => host.cpuCount),
  cpuspeed: f.long('speed of each, in MHz', ({ host }) => host.cpuMhz),
  cpuallocated: f.string('CPU promised to machines, in per cent', ({ capacity }) =>
    capacity ? percent(capacity.cpuMhzReserved, capacity.cpuMhz) : null,
  ),
  cpuallocatedpercentage: f.string('CPU promised to machines, in per cent', ({ capacity }) =>
    capacity ? percent(capacity.cpuMhzReserved, capacity.cpuMhz) : null,
  ),
  cpuallocatedvalue: f.long('CPU promised to machines, in MHz', ({ capacity }) => capacity?.cpuMhzReserved),
  cpuallocatedwithoverprovisioning: f.string('CPU promised to machines, in per cent of what may be promised', ({ capacity }) =>
    capacity ? percent(capacity.cpuMhzReserved, capacity.cpuMhzOverprovisioned) : null,
  ),
  cpuwithoverprovisioning: f.string('CPU that may be promised, in MHz', ({ capacity }) =>
    capacity ? String(Math.floor(capacity.cpuMhzOverprovisioned)) : null,
  ),
  memorytotal: f.long('its memory, in bytes', ({ host }) => host.memoryMib * BYTES_PER_MIB),
  memoryallocated: f.long('memory promised to machines, in bytes', ({ capacity }) => capacity?.memoryBytesReserved),
  memoryallocatedbytes: f.long('memory promised to machines, in bytes', ({ capacity }) => capacity?.memoryBytesReserved),
  memoryallocatedpercentage: f.string('memory promised to machines, in per cent', ({ capacity }) =>
    capacity ? percent(capacity.memoryBytesReserved, capacity.memoryBytes) : null,
  ),
  memorywithoverprovisioning: f.string('memory that may be promised, in bytes', ({ capacity }) =>
    capacity ? String(Math.floor(capacity.memoryBytesOverprovisioned)) : null,
  ),
  hasenoughcapacity: f.boolean('whether it takes new machines', ({ capacity }) => capacity?.isEnough),
  hosttags: f.string('its tags', ({ host }) => host.tags),
  explicithosttags: f.string('its tags', ({ host }) => host.tags),
  details: f.map('details by name, such as the accelerator of its machines', ({ host, withEvents }) => (withEvents ? host.details : null)),
  events: f.string('what may happen to its link next', ({ agent, withEvents }) =>
    agent && withEvents ? Object.keys(agentStates.table[agent.state]).join('; ') : null,
  ),
  managementserverid: f.string('id of the management server that has its link', ({ agent }) => agent?.serverId),
  managementservername: f.string('name of that server', ({ serverName }) => serverName),
  lastpinged: f.date('when it was heard last', ({ agent }) => agent?.lastBeatAt),
  disconnected: f.date('since when it has no link', ({ agent }) => (agent && !linked.includes(agent.state) ? agent.stateSince : null)),
  created: f.date('when it was added', ({ host }) => host.createdAt),
  removed: f.date('when it was removed', ({ host }) => host.removedAt),
});

export function capacityOf(host: HostRow, settings: Services['settings']): HostCapacity {
  const at = { cluster: host.clusterId };
  const cpuMhz = host.cpuCount * host.cpuMhz;
  const memoryBytes = host.memoryMib * BYTES_PER_MIB;
  const cpuMhzOverprovisioned = cpuMhz * settings.get(cpuOverprovisioning, at);
  const memoryBytesOverprovisioned = memoryBytes * settings.get(memoryOverprovisioning, at);
  const memoryBytesReserved = host.memoryMibReserved * BYTES_PER_MIB;
  return {
    cpuMhz,
    cpuMhzOverprovisioned,
    cpuMhzReserved: host.cpuMhzReserved,
    memoryBytes,
    memoryBytesOverprovisioned,
    memoryBytesReserved,
    isEnough:
      host.cpuMhzReserved < cpuMhzOverprovisioned * settings.get(cpuDisableThreshold, at) &&
      memoryBytesReserved < memoryBytesOverprovisioned * settings.get(memoryDisableThreshold, at),
  };
}

/** Six statements, whatever the number of hosts. */
export async function loadHosts(
  { db: { read }, settings }: Pick<Services, 'db' | 'settings'>,
  ids: readonly string[],
  details: readonly HostDetailName[] = ['all'],
): Promise<ShownHost[]> {
  const wants = (name: HostDetailName) => details.includes('all') || details.includes(name);
  const rows = await read.find(hosts, { where: { id: In([...ids]) } });
  const agentOf = await byId(read, agents, ids);
  const zoneOf = await byId(
    read,
    zones,
    rows.map(({ zoneId }) => zoneId),
  );
  const podOf = await byId(
    read,
    pods,
    rows.map(({ podId }) => podId),
  );
  const clusterOf = await byId(
    read,
    clusters,
    rows.map(({ clusterId }) => clusterId),
  );
  const serverOf = await byId(
    read,
    managementServers,
    [...agentOf.values()].flatMap(({ serverId }) => serverId ?? []),
  );
  return rows.map((host) => {
    const agent = agentOf.get(host.id) ?? null;
    return {
      id: host.id,
      host,
      agent,
      zone: zoneOf.get(host.zoneId) ?? null,
      pod: podOf.get(host.podId) ?? null,
      cluster: clusterOf.get(host.clusterId) ?? null,
      serverName: agent?.serverId ? (serverOf.get(agent.serverId)?.name ?? null) : null,
      capacity: wants('capacity') ? capacityOf(host, settings) : null,
      withEvents: wants('events'),
    };
  });
}
