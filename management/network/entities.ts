import type { Id } from '../../protocol/schema.ts';
import type { NetworkState, NicState, PublicIpState } from '../../protocol/states/network.ts';
import { column, table } from '../core/db.ts';

/** A guest network. */
export interface NetworkRow {
  id: Id<'network'>;
  accountId: Id<'account'>;
  domainId: Id<'domain'>;
  zoneId: Id<'zone'>;
  physicalNetworkId: Id<'physicalNetwork'>;
  networkOfferingId: Id<'networkOffering'>;
  name: string;
  displayText: string;
  guestType: 'Isolated';
  state: NetworkState;
  generation: number;
  gateway: string;
  netmask: string;
  cidr: string;
  networkDomain: string;
  /** VXLAN number; set while implemented. */
  vni: number | null;
  mtu: number;
  dns1: string | null;
  dns2: string | null;
  restartRequired: boolean;
  /** Raised with every change that the router must see. */
  configurationGeneration: number;
  /** What the router has confirmed. */
  appliedGeneration: number;
  /** When the last machine left it; garbage collection counts from here. */
  idleSince: Date | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const networks = table<NetworkRow>(
  'network',
  {
    id: column.key(),
    accountId: column.id(),
    domainId: column.id(),
    zoneId: column.id(),
    physicalNetworkId: column.id(),
    networkOfferingId: column.id(),
    name: column.string(),
    displayText: column.string(),
    guestType: column.word(16),
    state: column.word(16),
    generation: column.int(),
    gateway: column.word(),
    netmask: column.word(),
    cidr: column.word(),
    networkDomain: column.string(),
    vni: column.nullable(column.int()),
    mtu: column.int(),
    dns1: column.nullable(column.word()),
    dns2: column.nullable(column.word()),
    restartRequired: column.boolean(),
    configurationGeneration: column.int(),
    appliedGeneration: column.int(),
    idleSince: column.nullable(column.time()),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  {
    indices: [
      ['accountId', 'removedAt'],
      ['zoneId', 'state'],
    ],
    uniques: [['physicalNetworkId', 'vni']],
  },
);

/** A machine's attachment: to a guest network, or for system VMs to one of the cloud's own networks by role. */
export interface NicRow {
  id: Id<'nic'>;
  machineId: Id<'machine'>;
  zoneId: Id<'zone'>;
  role: 'guest' | 'control' | 'management' | 'public' | 'storage';
  /** For role guest. */
  networkId: Id<'network'> | null;
  device: number;
  isDefault: boolean;
  mac: string;
  address: string | null;
  netmask: string | null;
  gateway: string | null;
  state: NicState;
  generation: number;
  createdAt: Date;
  removedAt: Date | null;
}
export const nics = table<NicRow>(
  'nic',
  {
    id: column.key(),
    machineId: column.id(),
    zoneId: column.id(),
    role: column.word(16),
    networkId: column.nullable(column.id()),
    device: column.int(),
    isDefault: column.boolean(),
    mac: column.word(17),
    address: column.nullable(column.word()),
    netmask: column.nullable(column.word()),
    gateway: column.nullable(column.word()),
    state: column.word(16),
    generation: column.int(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['machineId', 'removedAt'], ['networkId', 'removedAt'], ['mac']] },
);

/** An address of a guest network that is taken. The unique key is what keeps two NICs apart. */
export interface GuestAddressRow {
  id: Id<'guestAddress'>;
  networkId: Id<'network'>;
  address: string;
  nicId: Id<'nic'>;
}
export const guestAddresses = table<GuestAddressRow>(
  'guest_address',
  { id: column.key(), networkId: column.id(), address: column.word(), nicId: column.id() },
  { uniques: [['networkId', 'address']], indices: [['nicId']] },
);

/** One row for each public address of a range. */
export interface PublicIpRow {
  id: Id<'publicIp'>;
  zoneId: Id<'zone'>;
  physicalNetworkId: Id<'physicalNetwork'>;
  ipRangeId: Id<'ipRange'>;
  address: string;
  /** As a number, for ordering. */
  addressNumber: number;
  state: PublicIpState;
  generation: number;
  accountId: Id<'account'> | null;
  domainId: Id<'domain'> | null;
  /** Guest network it serves. */
  networkId: Id<'network'> | null;
  isSourceNat: boolean;
  /** NIC of a system VM that has it as its own public address. */
  nicId: Id<'nic'> | null;
  allocatedAt: Date | null;
}
export const publicIps = table<PublicIpRow>(
  'public_ip',
  {
    id: column.key(),
    zoneId: column.id(),
    physicalNetworkId: column.id(),
    ipRangeId: column.id(),
    address: column.word(),
    addressNumber: column.bigint(),
    state: column.word(16),
    generation: column.int(),
    accountId: column.nullable(column.id()),
    domainId: column.nullable(column.id()),
    networkId: column.nullable(column.id()),
    isSourceNat: column.boolean(),
    nicId: column.nullable(column.id()),
    allocatedAt: column.nullable(column.time()),
  },
  { indices: [['zoneId', 'state', 'addressNumber'], ['networkId'], ['nicId'], ['accountId']], uniques: [['ipRangeId', 'address']] },
);

/** What the router tells a guest about itself: written by whoever owns the machine, read when a router's configuration is compiled. */
export interface GuestMetadataRow {
  machineId: Id<'machine'>;
  /** In DNS and DHCP. */
  hostName: string;
  /** Path below /latest/meta-data/ to text. */
  metadata: Record<string, string>;
  /** Base64; null when there is none. */
  userData: string | null;
  /** Sealed; served until the guest says it has saved it. */
  password: string | null;
  passwordGeneration: number;
}
export const guestMetadata = table<GuestMetadataRow>('guest_metadata', {
  machineId: column.key(),
  hostName: column.string(),
  metadata: column.json(),
  userData: column.nullable(column.text()),
  password: column.nullable(column.text()),
  passwordGeneration: column.int(),
});
export const networkTables = [networks, nics, guestAddresses, publicIps, guestMetadata];
