/** What commands may name in this area. All of it is the operator's; of zones, tenants may name those that are Enabled. */
import type { Table, Tx } from '../core/db.ts';
import { type EntityKind, entityKind } from '../core/params.ts';
import {
  type ClusterRow,
  clusters,
  type HostRow,
  hosts,
  type IpRangeRow,
  ipRanges,
  type NetworkServiceProviderRow,
  networkServiceProviders,
  type PhysicalNetworkRow,
  type PodRow,
  physicalNetworks,
  pods,
  type TrafficTypeRow,
  trafficTypes,
  type ZoneRow,
  zones,
} from './entities.ts';

const operatorsOwn = <R extends { id: string; removedAt: Date | null }>(noun: string, from: Table<R>): EntityKind<R> =>
  entityKind<R>({
    noun,
    find: (tx: Tx, id) => tx.findOneBy(from, { id } as never),
    removed: ({ removedAt }) => removedAt !== null,
    owner: () => null,
  });

export const zoneKind: EntityKind<ZoneRow> = {
  ...operatorsOwn('zone', zones),
  shared: ({ allocationState, removedAt }, use) => use !== 'operate' && allocationState === 'Enabled' && removedAt === null,
};
export const podKind: EntityKind<PodRow> = operatorsOwn('pod', pods);
export const clusterKind: EntityKind<ClusterRow> = operatorsOwn('cluster', clusters);
export const hostKind: EntityKind<HostRow> = operatorsOwn('host', hosts);
export const physicalNetworkKind: EntityKind<PhysicalNetworkRow> = operatorsOwn('physical network', physicalNetworks);
export const trafficTypeKind: EntityKind<TrafficTypeRow> = operatorsOwn('traffic type', trafficTypes);
export const networkServiceProviderKind: EntityKind<NetworkServiceProviderRow> = operatorsOwn(
  'network service provider',
  networkServiceProviders,
);
/** Of either kind; commands look at `kind` themselves. */
export const ipRangeKind: EntityKind<IpRangeRow> = operatorsOwn('IP range', ipRanges);
