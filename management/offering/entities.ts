import type { Id } from '../../protocol/schema.ts';
import { column, table } from '../core/db.ts';

export interface ServiceOfferingRow {
  id: Id<'serviceOffering'>;
  name: string;
  displayText: string;
  /** Null where the user chooses (custom offering). */
  cpuCount: number | null;
  cpuMhz: number | null;
  memoryMib: number | null;
  /** Limits of a custom offering. */
  minCpuCount: number | null;
  maxCpuCount: number | null;
  minMemoryMib: number | null;
  maxMemoryMib: number | null;
  state: 'Active' | 'Inactive';
  haEnabled: boolean;
  limitCpuUse: boolean;
  storageType: 'shared' | 'local';
  storageTags: string | null;
  hostTags: string | null;
  rootDiskSizeGib: number | null;
  networkRateMbps: number | null;
  system: boolean;
  systemVmType: string | null;
  /** Kept so that nobody can delete a built-in one. */
  builtIn: boolean;
  details: Record<string, string>;
  createdAt: Date;
  removedAt: Date | null;
}
export const serviceOfferings = table<ServiceOfferingRow>('service_offering', {
  id: column.key(),
  name: column.string(),
  displayText: column.string(4096),
  cpuCount: column.nullable(column.int()),
  cpuMhz: column.nullable(column.int()),
  memoryMib: column.nullable(column.int()),
  minCpuCount: column.nullable(column.int()),
  maxCpuCount: column.nullable(column.int()),
  minMemoryMib: column.nullable(column.int()),
  maxMemoryMib: column.nullable(column.int()),
  state: column.word(16),
  haEnabled: column.boolean(),
  limitCpuUse: column.boolean(),
  storageType: column.word(16),
  storageTags: column.nullable(column.string()),
  hostTags: column.nullable(column.string()),
  rootDiskSizeGib: column.nullable(column.int()),
  networkRateMbps: column.nullable(column.int()),
  system: column.boolean(),
  systemVmType: column.nullable(column.word()),
  builtIn: column.boolean(),
  details: column.json(),
  createdAt: column.time(),
  removedAt: column.nullable(column.time()),
});

export interface DiskOfferingRow {
  id: Id<'diskOffering'>;
  name: string;
  displayText: string;
  /** Null where the user chooses. */
  sizeGib: number | null;
  state: 'Active' | 'Inactive';
  storageType: 'shared' | 'local';
  provisioningType: 'thin' | 'sparse' | 'fat';
  tags: string | null;
  displayOffering: boolean;
  createdAt: Date;
  removedAt: Date | null;
}
export const diskOfferings = table<DiskOfferingRow>('disk_offering', {
  id: column.key(),
  name: column.string(),
  displayText: column.string(4096),
  sizeGib: column.nullable(column.int()),
  state: column.word(16),
  storageType: column.word(16),
  provisioningType: column.word(16),
  tags: column.nullable(column.string()),
  displayOffering: column.boolean(),
  createdAt: column.time(),
  removedAt: column.nullable(column.time()),
});

export const networkServiceNames = [
  'Dhcp',
  'Dns',
  'UserData',
  'SourceNat',
  'StaticNat',
  'PortForwarding',
  'Firewall',
  'NetworkACL',
  'Lb',
  'Vpn',
  'Gateway',
  'SecurityGroup',
  'Connectivity',
] as const;
export type NetworkServiceName = (typeof networkServiceNames)[number];

export interface NetworkOfferingRow {
  id: Id<'networkOffering'>;
  name: string;
  displayText: string;
  guestType: 'Isolated' | 'Shared' | 'L2';
  trafficType: 'Guest';
  state: 'Enabled' | 'Disabled';
  availability: 'Required' | 'Optional' | 'Unavailable';
  isDefault: boolean;
  specifyVlan: boolean;
  specifyIpRanges: boolean;
  conserveMode: boolean;
  egressDefault: 'allow' | 'deny';
  persistent: boolean;
  forVpc: boolean;
  networkRateMbps: number | null;
  tags: string | null;
  /** Service to provider: { Dhcp: 'VirtualRouter', … }. */
  services: Partial<Record<NetworkServiceName, string>>;
  serviceOfferingId: Id<'serviceOffering'> | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const networkOfferings = table<NetworkOfferingRow>('network_offering', {
  id: column.key(),
  name: column.string(),
  displayText: column.string(4096),
  guestType: column.word(16),
  trafficType: column.word(16),
  state: column.word(16),
  availability: column.word(16),
  isDefault: column.boolean(),
  specifyVlan: column.boolean(),
  specifyIpRanges: column.boolean(),
  conserveMode: column.boolean(),
  egressDefault: column.word(8),
  persistent: column.boolean(),
  forVpc: column.boolean(),
  networkRateMbps: column.nullable(column.int()),
  tags: column.nullable(column.string()),
  services: column.json(),
  serviceOfferingId: column.nullable(column.id()),
  createdAt: column.time(),
  removedAt: column.nullable(column.time()),
});

/** Domains whose accounts may use an offering, also those below them; an offering without any is for everybody. */
export interface OfferingDomainRow {
  offeringId: string;
  domainId: Id<'domain'>;
}
export const offeringDomains = table<OfferingDomainRow>('offering_domain', {
  offeringId: column.key(),
  domainId: column.primary(column.id()),
});
export const offeringTables = [serviceOfferings, diskOfferings, networkOfferings, offeringDomains];
