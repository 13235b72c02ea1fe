/** What the API shows of zones, pods, clusters and networks; hosts are in host-views.ts. Each loader takes a fixed number of statements. */
import { In } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Services } from '../core/services.ts';
import { type Fields, f, view } from '../core/view.ts';
import { type Capacity, capacitiesOf, capacityFields } from './capacity.ts';
import {
  type ClusterRow,
  clusters,
  type IpRangeRow,
  ipRanges,
  type NetworkServiceProviderRow,
  networkServiceProviders,
  type PhysicalNetworkRow,
  type PodRangeRow,
  type PodRow,
  physicalNetworks,
  podRanges,
  pods,
  type TrafficTypeRow,
  trafficTypes,
  type ZoneRow,
  zones,
} from './entities.ts';
import { byId } from './names.ts';
import { cpuOverprovisioning, memoryOverprovisioning } from './settings.ts';
import { missingPartsOf } from './zone-parts.ts';

type Reading = Pick<Services, 'db' | 'settings'>;
interface LoadOptions {
  readonly capacities?: boolean | undefined;
}

export interface ShownZone extends ZoneRow {
  readonly missing: readonly string[];
  readonly capacities: readonly Capacity[] | null;
}
const adminOnly = { adminOnly: true };
export const zoneView = view<ShownZone>('ZoneResponse', 'zone', {
  id: f.string('id of the zone', ({ id }) => id),
  name: f.string('name of the zone', ({ name }) => name),
  displaytext: f.string('what the zone is for', ({ description, name }) => description ?? name),
  description: f.string('what the zone is for', ({ description }) => description),
  networktype: f.string('always Advanced', ({ networkType }) => networkType),
  type: f.string('always Core', () => 'Core'),
  allocationstate: f.string('Enabled, or Disabled: nothing new is started there', ({ allocationState }) => allocationState),
  dns1: f.string('first name server for guests', ({ dns1 }) => dns1, adminOnly),
  dns2: f.string('second name server for guests', ({ dns2 }) => dns2, adminOnly),
  internaldns1: f.string('first name server for system VMs', ({ internalDns1 }) => internalDns1, adminOnly),
  internaldns2: f.string('second name server for system VMs', ({ internalDns2 }) => internalDns2, adminOnly),
  guestcidraddress: f.string('from which guest networks are made', ({ guestCidr }) => guestCidr, adminOnly),
  domain: f.string('DNS suffix of guests', ({ networkDomain }) => networkDomain),
  dhcpprovider: f.string('who gives guests their addresses', () => 'VirtualRouter'),
  securitygroupsenabled: f.boolean('always false: guests are kept apart by networks', () => false),
  localstorageenabled: f.boolean('whether volumes may be on storage that one host has', ({ localStorage }) => localStorage),
  resourcedetails: f.map(
    'details by name; `missing` names the parts without which the zone cannot be Enabled',
    ({ details, missing }) => (missing.length > 0 ? { ...details, missing: missing.join('; ') } : details),
    adminOnly,
  ),
  capacity: f.list('what there is and what is used', ({ capacities }) => capacities, capacityFields, adminOnly),
});
export async function loadZones(reading: Reading, ids: readonly string[], { capacities = false }: LoadOptions = {}): Promise<ShownZone[]> {
  const rows = await reading.db.read.find(zones, { where: { id: In([...ids]) } });
  const missing = await missingPartsOf(reading.db.read, ids);
  const sums = capacities ? await capacitiesOf(reading, 'zone', ids) : null;
  return rows.map((row) => ({ ...row, missing: missing.get(row.id) ?? [], capacities: sums?.get(row.id) ?? null }));
}
export const loadZone = async (reading: Reading, id: Id<'zone'>): Promise<ShownZone> => one(await loadZones(reading, [id]));

export interface ShownPod extends PodRow {
  readonly zoneName: string;
  readonly ranges: readonly PodRangeRow[];
  readonly capacities: readonly Capacity[] | null;
}
const podRangeFields: Fields<PodRangeRow & Pick<PodRow, 'gateway'>> = {
  startip: f.string('first address', ({ startIp }) => startIp),
  endip: f.string('last address', ({ endIp }) => endIp),
  gateway: f.string('gateway', ({ gateway }) => gateway),
};
export const podView = view<ShownPod>('PodResponse', 'pod', {
  id: f.string('id of the pod', ({ id }) => id),
  name: f.string('name of the pod', ({ name }) => name),
  zoneid: f.string('id of its zone', ({ zoneId }) => zoneId),
  zonename: f.string('name of its zone', ({ zoneName }) => zoneName),
  gateway: f.string('gateway of its management network', ({ gateway }) => gateway),
  netmask: f.string('netmask of its management network', ({ netmask }) => netmask),
  startip: f.texts('first addresses of its ranges', ({ ranges }) => ranges.map(({ startIp }) => startIp)),
  endip: f.texts('last addresses of its ranges', ({ ranges }) => ranges.map(({ endIp }) => endIp)),
  ipranges: f.list('its ranges', ({ ranges, gateway }) => ranges.map((range) => ({ ...range, gateway })), podRangeFields),
  allocationstate: f.string('Enabled, or Disabled: nothing new is started there', ({ allocationState }) => allocationState),
  capacity: f.list('what there is and what is used', ({ capacities }) => capacities, capacityFields),
});
export async function loadPods(reading: Reading, ids: readonly string[], { capacities = false }: LoadOptions = {}): Promise<ShownPod[]> {
  const { read } = reading.db;
  const rows = await read.find(pods, { where: { id: In([...ids]) } });
  const places = await byId(
    read,
    zones,
    rows.map(({ zoneId }) => zoneId),
  );
  const ranges = await read.find(podRanges, { where: { podId: In([...ids]) }, order: { id: 'ASC' } });
  const sums = capacities ? await capacitiesOf(reading, 'pod', ids) : null;
  return rows.map((row) => ({
    ...row,
    zoneName: places.get(row.zoneId)?.name ?? '',
    ranges: ranges.filter(({ podId }) => podId === row.id),
    capacities: sums?.get(row.id) ?? null,
  }));
}
export const loadPod = async (reading: Reading, id: string): Promise<ShownPod> => one(await loadPods(reading, [id]));

export interface ShownCluster extends ClusterRow {
  readonly zoneName: string;
  readonly podName: string;
  readonly cpuRatio: number;
  readonly memoryRatio: number;
  readonly capacities: readonly Capacity[] | null;
}
/** `2.0`, as clients know it. */
const ratio = (value: number): string => (Number.isInteger(value) ? value.toFixed(1) : String(value));
export const clusterView = view<ShownCluster>('ClusterResponse', 'cluster', {
  id: f.string('id of the cluster', ({ id }) => id),
  name: f.string('name of the cluster', ({ name }) => name),
  zoneid: f.string('id of its zone', ({ zoneId }) => zoneId),
  zonename: f.string('name of its zone', ({ zoneName }) => zoneName),
  podid: f.string('id of its pod', ({ podId }) => podId),
  podname: f.string('name of its pod', ({ podName }) => podName),
  hypervisortype: f.string('what its hosts run', ({ hypervisor }) => hypervisor),
  clustertype: f.string('always CloudManaged', ({ clusterType }) => clusterType),
  allocationstate: f.string('Enabled, or Disabled: nothing new is started there', ({ allocationState }) => allocationState),
  managedstate: f.string('Managed', ({ managed }) => (managed ? 'Managed' : 'Unmanaged')),
  cpuovercommitratio: f.string('how many times its CPU is promised', ({ cpuRatio }) => ratio(cpuRatio)),
  memoryovercommitratio: f.string('how many times its memory is promised', ({ memoryRatio }) => ratio(memoryRatio)),
  capacity: f.list('what there is and what is used', ({ capacities }) => capacities, capacityFields),
});
export async function loadClusters(
  reading: Reading,
  ids: readonly string[],
  { capacities = false }: LoadOptions = {},
): Promise<ShownCluster[]> {
  const { read } = reading.db;
  const rows = await read.find(clusters, { where: { id: In([...ids]) } });
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
  const sums = capacities ? await capacitiesOf(reading, 'cluster', ids) : null;
  return rows.map((row) => ({
    ...row,
    zoneName: zoneOf.get(row.zoneId)?.name ?? '',
    podName: podOf.get(row.podId)?.name ?? '',
    cpuRatio: reading.settings.get(cpuOverprovisioning, { cluster: row.id }),
    memoryRatio: reading.settings.get(memoryOverprovisioning, { cluster: row.id }),
    capacities: sums?.get(row.id) ?? null,
  }));
}
export const loadCluster = async (reading: Reading, id: string): Promise<ShownCluster> => one(await loadClusters(reading, [id]));

export interface ShownPhysicalNetwork extends PhysicalNetworkRow {
  readonly zoneName: string;
}
export const physicalNetworkView = view<ShownPhysicalNetwork>('PhysicalNetworkResponse', 'physicalnetwork', {
  id: f.string('id of the physical network', ({ id }) => id),
  name: f.string('its name', ({ name }) => name),
  zoneid: f.string('id of its zone', ({ zoneId }) => zoneId),
  zonename: f.string('name of its zone', ({ zoneName }) => zoneName),
  state: f.string('Enabled or Disabled', ({ state }) => state),
  broadcastdomainrange: f.string('how far a broadcast goes', ({ broadcastDomainRange }) => broadcastDomainRange),
  isolationmethods: f.string('how guest networks are kept apart', ({ isolationMethods }) => isolationMethods.join(',')),
  vlan: f.string('numbers that guest networks may have, such as 10000-10999', ({ vnetStart, vnetEnd }) =>
    vnetStart === null ? null : `${vnetStart}-${vnetEnd ?? vnetStart}`,
  ),
  tags: f.string('its tags', ({ tags }) => tags),
});
export async function loadPhysicalNetworks({ db }: Pick<Reading, 'db'>, ids: readonly string[]): Promise<ShownPhysicalNetwork[]> {
  const rows = await db.read.find(physicalNetworks, { where: { id: In([...ids]) } });
  const zoneOf = await byId(
    db.read,
    zones,
    rows.map(({ zoneId }) => zoneId),
  );
  return rows.map((row) => ({ ...row, zoneName: zoneOf.get(row.zoneId)?.name ?? '' }));
}

export const trafficTypeView = view<TrafficTypeRow>('TrafficTypeResponse', 'traffictype', {
  id: f.string('id of the traffic type', ({ id }) => id),
  physicalnetworkid: f.string('id of its physical network', ({ physicalNetworkId }) => physicalNetworkId),
  traffictype: f.string('Public, Guest, Management or Storage', ({ trafficType }) => trafficType),
  kvmnetworklabel: f.string('bridge that carries it on KVM hosts', ({ kvmNetworkLabel }) => kvmNetworkLabel),
});
export const loadTrafficTypes = ({ db }: Pick<Reading, 'db'>, ids: readonly string[]): Promise<TrafficTypeRow[]> =>
  db.read.find(trafficTypes, { where: { id: In([...ids]) } });

export const providerView = view<NetworkServiceProviderRow>('ProviderResponse', 'networkserviceprovider', {
  id: f.string('id of the provider', ({ id }) => id),
  name: f.string('its name', ({ name }) => name),
  physicalnetworkid: f.string('id of its physical network', ({ physicalNetworkId }) => physicalNetworkId),
  state: f.string('Enabled or Disabled', ({ state }) => state),
  servicelist: f.texts('services it carries out', ({ services }) => services),
  canenableindividualservice: f.boolean('whether an offering may take some of its services only', () => true),
});
export const routerElementView = view<NetworkServiceProviderRow>('VirtualRouterProviderResponse', 'virtualrouterelement', {
  id: f.string('id of the element', ({ id }) => id),
  nspid: f.string('id of its network service provider', ({ id }) => id),
  enabled: f.boolean('whether it may make routers', ({ configured }) => configured),
});
export const loadProviders = ({ db }: Pick<Reading, 'db'>, ids: readonly string[]): Promise<NetworkServiceProviderRow[]> =>
  db.read.find(networkServiceProviders, { where: { id: In([...ids]) } });

export const storageRangeView = view<IpRangeRow>('StorageNetworkIpRangeResponse', 'storagenetworkiprange', {
  id: f.string('id of the range', ({ id }) => id),
  zoneid: f.string('id of its zone', ({ zoneId }) => zoneId),
  podid: f.string('id of its pod', ({ podId }) => podId),
  gateway: f.string('gateway of the storage network', ({ gateway }) => gateway),
  netmask: f.string('netmask of the storage network', ({ netmask }) => netmask),
  startip: f.string('first address', ({ startIp }) => startIp),
  endip: f.string('last address', ({ endIp }) => endIp),
});
export const loadStorageRanges = ({ db }: Pick<Reading, 'db'>, ids: readonly string[]): Promise<IpRangeRow[]> =>
  db.read.find(ipRanges, { where: { id: In([...ids]) } });

/** Of a loader that was asked for one id. */
export function one<T>([row]: readonly T[]): T {
  if (row === undefined) throw new CloudError('NotFound', 'it has been removed meanwhile');
  return row;
}
