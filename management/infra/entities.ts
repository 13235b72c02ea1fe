import type { HostDescription } from '../../protocol/messages/host.ts';
import type { Id } from '../../protocol/schema.ts';
import type { AllocationState, HostResourceState } from '../../protocol/states/host.ts';
import { column, table } from '../core/db.ts';

export interface ZoneRow {
  id: Id<'zone'>;
  name: string;
  description: string | null;
  dns1: string;
  dns2: string | null;
  internalDns1: string;
  internalDns2: string | null;
  /** DNS suffix of guests; null: the setting guest.domain.suffix. */
  networkDomain: string | null;
  guestCidr: string;
  networkType: 'Advanced';
  allocationState: AllocationState;
  /** The operator wants it Enabled as soon as it has all its parts. */
  enableWhenReady: boolean;
  generation: number;
  localStorage: boolean;
  /** Details by name, such as enableSecondaryStorageVm. */
  details: Record<string, string>;
  createdAt: Date;
  removedAt: Date | null;
}
export const zones = table<ZoneRow>('zone', {
  id: column.key(),
  name: column.string(),
  description: column.nullable(column.string()),
  dns1: column.word(),
  dns2: column.nullable(column.word()),
  internalDns1: column.word(),
  internalDns2: column.nullable(column.word()),
  networkDomain: column.nullable(column.string()),
  guestCidr: column.word(),
  networkType: column.word(16),
  allocationState: column.word(16),
  enableWhenReady: column.boolean(),
  generation: column.int(),
  localStorage: column.boolean(),
  details: column.json(),
  createdAt: column.time(),
  removedAt: column.nullable(column.time()),
});

export interface PodRow {
  id: Id<'pod'>;
  zoneId: Id<'zone'>;
  name: string;
  gateway: string;
  netmask: string;
  allocationState: AllocationState;
  generation: number;
  createdAt: Date;
  removedAt: Date | null;
}
export const pods = table<PodRow>(
  'pod',
  {
    id: column.key(),
    zoneId: column.id(),
    name: column.string(),
    gateway: column.word(),
    netmask: column.word(),
    allocationState: column.word(16),
    generation: column.int(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['zoneId', 'removedAt']] },
);

/** Addresses of a pod's management network that system VMs may take; all ranges of a pod have its gateway and netmask. */
export interface PodRangeRow {
  id: Id<'podRange'>;
  podId: Id<'pod'>;
  zoneId: Id<'zone'>;
  startIp: string;
  endIp: string;
  createdAt: Date;
}
export const podRanges = table<PodRangeRow>(
  'pod_range',
  {
    id: column.key(),
    podId: column.id(),
    zoneId: column.id(),
    startIp: column.word(),
    endIp: column.word(),
    createdAt: column.time(),
  },
  { indices: [['podId'], ['zoneId']] },
);

export const hypervisorNames = ['KVM', 'Simulator'] as const;
export type HypervisorName = (typeof hypervisorNames)[number];

export interface ClusterRow {
  id: Id<'cluster'>;
  zoneId: Id<'zone'>;
  podId: Id<'pod'>;
  name: string;
  hypervisor: HypervisorName;
  clusterType: 'CloudManaged';
  allocationState: AllocationState;
  managed: boolean;
  generation: number;
  createdAt: Date;
  removedAt: Date | null;
}
export const clusters = table<ClusterRow>(
  'cluster',
  {
    id: column.key(),
    zoneId: column.id(),
    podId: column.id(),
    name: column.string(),
    hypervisor: column.word(32),
    clusterType: column.word(32),
    allocationState: column.word(16),
    managed: column.boolean(),
    generation: column.int(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  {
    indices: [
      ['podId', 'removedAt'],
      ['zoneId', 'removedAt'],
    ],
  },
);

/** A host. Its link state is its row in `agent` (same id). */
export interface HostRow {
  id: Id<'host'>;
  zoneId: Id<'zone'>;
  podId: Id<'pod'>;
  clusterId: Id<'cluster'>;
  name: string;
  hypervisor: HypervisorName;
  /** Management address: VNC, VXLAN tunnels. */
  address: string;
  sshPort: number;
  /** SHA-256 of the ssh host key seen when the host was added, as ssh prints it; null for a simulated host. */
  sshHostKey: string | null;
  /** `http://sim/c0/h0` for a simulated one. */
  url: string;
  resourceState: HostResourceState;
  /** What the operator wants when it has been added: false leaves it Disabled. */
  enableWhenReady: boolean;
  generation: number;
  /** What the agent said at its last connection; null before the first. */
  description: HostDescription | null;
  cpuCount: number;
  cpuMhz: number;
  memoryMib: number;
  /** Promised to machines: the sum of this host's reservations, kept in the same transactions. */
  cpuMhzReserved: number;
  memoryMibReserved: number;
  /** Of the networks document that was sent last. */
  networksGeneration: number;
  tags: string | null;
  /** Details by name: `accelerator`, and `missingBridges` when bridges that the zone's traffic types name are not there. */
  details: Record<string, string>;
  createdAt: Date;
  removedAt: Date | null;
}
export const hosts = table<HostRow>(
  'host',
  {
    id: column.key(),
    zoneId: column.id(),
    podId: column.id(),
    clusterId: column.id(),
    name: column.string(),
    hypervisor: column.word(32),
    address: column.word(),
    sshPort: column.int(),
    sshHostKey: column.nullable(column.word(128)),
    url: column.string(),
    resourceState: column.word(32),
    enableWhenReady: column.boolean(),
    generation: column.int(),
    description: column.nullable(column.json()),
    cpuCount: column.int(),
    cpuMhz: column.int(),
    memoryMib: column.int(),
    cpuMhzReserved: column.bigint(),
    memoryMibReserved: column.bigint(),
    networksGeneration: column.int(),
    tags: column.nullable(column.string()),
    details: column.json(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  {
    indices: [
      ['clusterId', 'removedAt'],
      ['zoneId', 'removedAt'],
    ],
  },
);

export interface PhysicalNetworkRow {
  id: Id<'physicalNetwork'>;
  zoneId: Id<'zone'>;
  name: string;
  state: AllocationState;
  generation: number;
  isolationMethods: string[];
  broadcastDomainRange: string;
  /** VNET range such as 10000-10999. */
  vnetStart: number | null;
  vnetEnd: number | null;
  tags: string | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const physicalNetworks = table<PhysicalNetworkRow>(
  'physical_network',
  {
    id: column.key(),
    zoneId: column.id(),
    name: column.string(),
    state: column.word(16),
    generation: column.int(),
    isolationMethods: column.json(),
    broadcastDomainRange: column.word(),
    vnetStart: column.nullable(column.int()),
    vnetEnd: column.nullable(column.int()),
    tags: column.nullable(column.string()),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['zoneId', 'removedAt']] },
);

export const trafficTypeNames = ['Public', 'Guest', 'Management', 'Storage', 'Control'] as const;
export type TrafficTypeName = (typeof trafficTypeNames)[number];
export interface TrafficTypeRow {
  id: Id<'trafficType'>;
  physicalNetworkId: Id<'physicalNetwork'>;
  trafficType: TrafficTypeName;
  /** Bridge on KVM hosts that carries it, such as cloudbr0. */
  kvmNetworkLabel: string | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const trafficTypes = table<TrafficTypeRow>(
  'traffic_type',
  {
    id: column.key(),
    physicalNetworkId: column.id(),
    trafficType: column.word(16),
    kvmNetworkLabel: column.nullable(column.word()),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['physicalNetworkId', 'removedAt']] },
);

export interface NetworkServiceProviderRow {
  id: Id<'networkServiceProvider'>;
  physicalNetworkId: Id<'physicalNetwork'>;
  name: string;
  state: AllocationState;
  generation: number;
  services: string[];
  /** Its virtual routers may be made: configureVirtualRouterElement. */
  configured: boolean;
  createdAt: Date;
  removedAt: Date | null;
}
export const networkServiceProviders = table<NetworkServiceProviderRow>(
  'network_service_provider',
  {
    id: column.key(),
    physicalNetworkId: column.id(),
    name: column.word(),
    state: column.word(16),
    generation: column.int(),
    services: column.json(),
    configured: column.boolean(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['physicalNetworkId', 'removedAt']] },
);

/** A range of public addresses (createVlanIpRange), or of storage addresses (createStorageNetworkIpRange). */
export interface IpRangeRow {
  id: Id<'ipRange'>;
  kind: 'public' | 'storage';
  zoneId: Id<'zone'>;
  podId: Id<'pod'> | null;
  physicalNetworkId: Id<'physicalNetwork'>;
  /** Number, or `untagged`. */
  vlan: string;
  gateway: string;
  netmask: string;
  startIp: string;
  endIp: string;
  forSystemVms: boolean;
  createdAt: Date;
  removedAt: Date | null;
}
export const ipRanges = table<IpRangeRow>(
  'ip_range',
  {
    id: column.key(),
    kind: column.word(16),
    zoneId: column.id(),
    podId: column.nullable(column.id()),
    physicalNetworkId: column.id(),
    vlan: column.word(),
    gateway: column.word(),
    netmask: column.word(),
    startIp: column.word(),
    endIp: column.word(),
    forSystemVms: column.boolean(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['zoneId', 'kind', 'removedAt']] },
);

/**
 * One address of the cloud's own networks: management (of a pod), storage (of a range) and control (of a zone, rows made when taken).
 * Free when `nicId` is null.
 */
export interface PrivateAddressRow {
  id: Id<'privateAddress'>;
  kind: 'management' | 'storage' | 'control';
  zoneId: Id<'zone'>;
  /** Id of the pod, ip range or zone. */
  scopeId: string;
  address: string;
  nicId: Id<'nic'> | null;
  takenAt: Date | null;
}
export const privateAddresses = table<PrivateAddressRow>(
  'private_address',
  {
    id: column.key(),
    kind: column.word(16),
    zoneId: column.id(),
    scopeId: column.id(),
    address: column.word(),
    nicId: column.nullable(column.id()),
    takenAt: column.nullable(column.time()),
  },
  { indices: [['scopeId', 'kind', 'nicId'], ['nicId']], uniques: [['scopeId', 'kind', 'address']] },
);

export const infraTables = [
  zones,
  pods,
  podRanges,
  clusters,
  hosts,
  physicalNetworks,
  trafficTypes,
  networkServiceProviders,
  ipRanges,
  privateAddresses,
];
