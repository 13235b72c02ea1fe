/** Rows of new offerings: what is not said is as usual. */
import { newId } from '../../protocol/ids.ts';
import type { DiskOfferingRow, NetworkOfferingRow, ServiceOfferingRow } from './entities.ts';

type Made<R> = Omit<R, 'id' | 'createdAt' | 'removedAt'>;

export const newServiceOffering = (given: Partial<Made<ServiceOfferingRow>> & Pick<ServiceOfferingRow, 'name'>): ServiceOfferingRow => ({
  displayText: given.name,
  cpuCount: null,
  cpuMhz: null,
  memoryMib: null,
  minCpuCount: null,
  maxCpuCount: null,
  minMemoryMib: null,
  maxMemoryMib: null,
  state: 'Active',
  haEnabled: false,
  limitCpuUse: false,
  storageType: 'shared',
  storageTags: null,
  hostTags: null,
  rootDiskSizeGib: null,
  networkRateMbps: null,
  system: false,
  systemVmType: null,
  builtIn: false,
  details: {},
  ...given,
  id: newId('serviceOffering'),
  createdAt: new Date(),
  removedAt: null,
});
export const newDiskOffering = (given: Partial<Made<DiskOfferingRow>> & Pick<DiskOfferingRow, 'name' | 'sizeGib'>): DiskOfferingRow => ({
  displayText: given.name,
  state: 'Active',
  storageType: 'shared',
  provisioningType: 'thin',
  tags: null,
  displayOffering: true,
  ...given,
  id: newId('diskOffering'),
  createdAt: new Date(),
  removedAt: null,
});
export const newNetworkOffering = (
  given: Partial<Made<NetworkOfferingRow>> & Pick<NetworkOfferingRow, 'name' | 'services'>,
): NetworkOfferingRow => ({
  displayText: given.name,
  guestType: 'Isolated',
  trafficType: 'Guest',
  state: 'Disabled',
  availability: 'Optional',
  isDefault: false,
  specifyVlan: false,
  specifyIpRanges: false,
  conserveMode: true,
  egressDefault: 'deny',
  persistent: false,
  forVpc: false,
  networkRateMbps: null,
  tags: null,
  serviceOfferingId: null,
  ...given,
  id: newId('networkOffering'),
  createdAt: new Date(),
  removedAt: null,
});
