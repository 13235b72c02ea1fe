/** Zones, pods, clusters, hosts, physical networks: what the cloud is made of. */
import { type Area, asSagas, asTables } from '../core/area.ts';
import { asCommands } from '../core/command.ts';
import { addCluster } from './commands/add-cluster.ts';
import { addHost } from './commands/add-host.ts';
import { addNetworkServiceProvider } from './commands/add-network-service-provider.ts';
import { addTrafficType } from './commands/add-traffic-type.ts';
import { cancelHostMaintenance } from './commands/cancel-host-maintenance.ts';
import { configureVirtualRouterElement } from './commands/configure-virtual-router-element.ts';
import { createManagementNetworkIpRange } from './commands/create-management-network-ip-range.ts';
import { createPhysicalNetwork } from './commands/create-physical-network.ts';
import { createPod } from './commands/create-pod.ts';
import { createStorageNetworkIpRange } from './commands/create-storage-network-ip-range.ts';
import { createZone } from './commands/create-zone.ts';
import { deleteCluster } from './commands/delete-cluster.ts';
import { deleteHost } from './commands/delete-host.ts';
import { deleteManagementNetworkIpRange } from './commands/delete-management-network-ip-range.ts';
import { deleteNetworkServiceProvider } from './commands/delete-network-service-provider.ts';
import { deletePhysicalNetwork } from './commands/delete-physical-network.ts';
import { deletePod } from './commands/delete-pod.ts';
import { deleteStorageNetworkIpRange } from './commands/delete-storage-network-ip-range.ts';
import { deleteTrafficType } from './commands/delete-traffic-type.ts';
import { deleteZone } from './commands/delete-zone.ts';
import { listClusters } from './commands/list-clusters.ts';
import { listHosts } from './commands/list-hosts.ts';
import { listHypervisors } from './commands/list-hypervisors.ts';
import { listNetworkServiceProviders } from './commands/list-network-service-providers.ts';
import { listPhysicalNetworks } from './commands/list-physical-networks.ts';
import { listPods } from './commands/list-pods.ts';
import { listStorageNetworkIpRange } from './commands/list-storage-network-ip-range.ts';
import { listTrafficTypes } from './commands/list-traffic-types.ts';
import { listVirtualRouterElements } from './commands/list-virtual-router-elements.ts';
import { listZones } from './commands/list-zones.ts';
import { prepareHostForMaintenance } from './commands/prepare-host-for-maintenance.ts';
import { reconnectHost } from './commands/reconnect-host.ts';
import { updateCluster } from './commands/update-cluster.ts';
import { updateHost } from './commands/update-host.ts';
import { updateNetworkServiceProvider } from './commands/update-network-service-provider.ts';
import { updatePhysicalNetwork } from './commands/update-physical-network.ts';
import { updatePod } from './commands/update-pod.ts';
import { updatePodManagementNetworkIpRange } from './commands/update-pod-management-network-ip-range.ts';
import { updateStorageNetworkIpRange } from './commands/update-storage-network-ip-range.ts';
import { updateTrafficType } from './commands/update-traffic-type.ts';
import { updateZone } from './commands/update-zone.ts';
import { infraTables } from './entities.ts';
import { hostHooks } from './host-link.ts';
import { capacityAlertsReconciler } from './reconcilers/capacity-alerts.ts';
import { hostsReconciler } from './reconcilers/hosts.ts';
import { simulatedHostsReconciler } from './reconcilers/simulated-hosts.ts';
import { zonesReconciler } from './reconcilers/zones.ts';
import { prepareMaintenance } from './sagas/prepare-maintenance.ts';
import { reconnect } from './sagas/reconnect.ts';
import {
  hostShown,
  physicalNetworkShown,
  podShown,
  providerShown,
  removed,
  routerElementShown,
  storageRangeShown,
  trafficTypeShown,
} from './sagas/shown.ts';
import { infraSettings } from './settings.ts';

export { type AddressRequest, freePrivateAddresses, hasStorageNetwork, type TakenAddress, takePrivateAddress } from './addresses.ts';
export { type Blocker, mustBeEmpty } from './blockers.ts';
export { type BridgedTraffic, bridgeFor } from './bridges.ts';
export { type Capacity, type CapacityScope, capacitiesOf, capacityFields, capacityTypes, percentOf } from './capacity.ts';
export * from './entities.ts';
export { type HostInstaller, type HostJoin, type SimulatedHosts, setHostInstaller, setSimulatedHosts } from './installer.ts';
export {
  clusterKind,
  hostKind,
  ipRangeKind,
  networkServiceProviderKind,
  physicalNetworkKind,
  podKind,
  trafficTypeKind,
  zoneKind,
} from './kinds.ts';
export { lockCluster, lockZone } from './living.ts';
export { addressesOf, checkRange, mustBeFree, outside, type Range, type RangeRequest, rangesOverlap } from './ranges.ts';
export * from './settings.ts';
export type { RemoteShell } from './ssh.ts';

export { hostsOfZone } from './zone-hosts.ts';

export const infraArea: Area = {
  name: 'infra',
  tables: asTables(...infraTables),
  commands: asCommands(
    createZone,
    listZones,
    updateZone,
    deleteZone,
    createPod,
    listPods,
    updatePod,
    deletePod,
    createManagementNetworkIpRange,
    updatePodManagementNetworkIpRange,
    deleteManagementNetworkIpRange,
    addCluster,
    listClusters,
    updateCluster,
    deleteCluster,
    addHost,
    listHosts,
    updateHost,
    deleteHost,
    prepareHostForMaintenance,
    cancelHostMaintenance,
    reconnectHost,
    listHypervisors,
    createPhysicalNetwork,
    listPhysicalNetworks,
    updatePhysicalNetwork,
    deletePhysicalNetwork,
    addTrafficType,
    listTrafficTypes,
    updateTrafficType,
    deleteTrafficType,
    addNetworkServiceProvider,
    listNetworkServiceProviders,
    updateNetworkServiceProvider,
    deleteNetworkServiceProvider,
    configureVirtualRouterElement,
    listVirtualRouterElements,
    createStorageNetworkIpRange,
    listStorageNetworkIpRange,
    updateStorageNetworkIpRange,
    deleteStorageNetworkIpRange,
  ),
  sagas: asSagas(
    prepareMaintenance,
    reconnect,
    podShown,
    hostShown,
    physicalNetworkShown,
    trafficTypeShown,
    providerShown,
    routerElementShown,
    storageRangeShown,
    removed,
  ),
  reconcilers: [hostsReconciler, zonesReconciler, simulatedHostsReconciler, capacityAlertsReconciler],
  settings: infraSettings,
  agentHooks: hostHooks,
};
