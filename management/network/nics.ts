/** NICs and their addresses: taken in the transaction that writes the NIC, given back with it. */
import { randomBytes, randomInt } from 'node:crypto';
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { cidrRange, ip4ToNumber, numberToIp4 } from '../../protocol/ip4.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import { freePrivateAddresses, takePrivateAddress } from '../infra/index.ts';
import { guestAddresses, type NetworkRow, type NicRow, networks, nics } from './entities.ts';
import { freePublicIpOfNic, takePublicIpForNic } from './public-ips.ts';

/** Locally administered, unicast; 02:00 and four random bytes. */
export function newMac(): string {
  const bytes = randomBytes(4);
  return ['02', '00', ...[...bytes].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
async function freshMac(tx: Tx, zoneId: Id<'zone'>): Promise<string> {
  for (;;) {
    const mac = newMac();
    if ((await tx.countBy(nics, { mac, zoneId, removedAt: IsNull() })) === 0) return mac;
  }
}

/** A MAC that its user has chosen. The network's row is locked by then, so the same is not given twice in it. */
async function freeMac(tx: Tx, { zoneId }: NetworkRow, mac: string): Promise<string> {
  if ((await tx.countBy(nics, { mac, zoneId, removedAt: IsNull() })) > 0)
    throw new CloudError('InvalidParameter', `the MAC ${mac} is taken by another NIC of this zone`);
  return mac;
}

export interface GuestNicRequest {
  readonly machineId: Id<'machine'>;
  readonly network: NetworkRow;
  readonly device: number;
  readonly isDefault: boolean;
  /** Null: any free one. */
  readonly address: string | null;
  /** Null: a new one. */
  readonly mac: string | null;
}

/** A NIC in a guest network, with an address nobody else has. */
export async function allocateGuestNic(tx: Tx, { machineId, network, device, isDefault, address, mac }: GuestNicRequest): Promise<NicRow> {
  const id = newId('nic');
  const taken = await takeGuestAddress(tx, network, id, address);
  const row: NicRow = {
    id,
    machineId,
    zoneId: network.zoneId,
    role: 'guest',
    networkId: network.id,
    device,
    isDefault,
    mac: mac === null ? await freshMac(tx, network.zoneId) : await freeMac(tx, network, mac),
    address: taken,
    netmask: network.netmask,
    gateway: network.gateway,
    state: 'Reserved',
    generation: 0,
    createdAt: new Date(),
    removedAt: null,
  };
  await tx.insert(nics, row);
  await tx.update(networks, { id: network.id }, { idleSince: null });
  await touchNetwork(tx, network.id);
  return row;
}

/** A router's NIC in its guest network: the gateway's own address. */
export async function allocateGatewayNic(tx: Tx, machineId: Id<'machine'>, network: NetworkRow, device: number): Promise<NicRow> {
  const row: NicRow = {
    id: newId('nic'),
    machineId,
    zoneId: network.zoneId,
    role: 'guest',
    networkId: network.id,
    device,
    isDefault: false,
    mac: await freshMac(tx, network.zoneId),
    address: network.gateway,
    netmask: network.netmask,
    gateway: null,
    state: 'Reserved',
    generation: 0,
    createdAt: new Date(),
    removedAt: null,
  };
  await tx.insert(nics, row);
  return row;
}

export interface SystemNicRequest {
  readonly machineId: Id<'machine'>;
  readonly zoneId: Id<'zone'>;
  readonly podId: Id<'pod'> | null;
  readonly role: 'control' | 'management' | 'public' | 'storage';
  readonly device: number;
  /** A public address that is taken already, such as a network's source NAT address; null: any free one. */
  readonly publicAddress?: { readonly address: string; readonly netmask: string; readonly gateway: string } | null;
}

/** A system VM's NIC in one of the cloud's own networks. */
export async function allocateSystemNic(
  tx: Tx,
  { machineId, zoneId, podId, role, device, publicAddress = null }: SystemNicRequest,
): Promise<NicRow> {
  const id = newId('nic');
  const taken =
    role === 'public'
      ? (publicAddress ?? (await takePublicIpForNic(tx, zoneId, id)))
      : await takePrivateAddress(tx, { kind: role, zoneId, podId, nicId: id });
  const row: NicRow = {
    id,
    machineId,
    zoneId,
    role,
    networkId: null,
    device,
    isDefault: role === 'public',
    mac: await freshMac(tx, zoneId),
    address: taken.address,
    netmask: taken.netmask,
    gateway: taken.gateway,
    state: 'Reserved',
    generation: 0,
    createdAt: new Date(),
    removedAt: null,
  };
  await tx.insert(nics, row);
  return row;
}

/** Removes all NICs of a machine and gives their addresses back. */
export async function releaseNics(tx: Tx, machineId: Id<'machine'>): Promise<void> {
  const rows = await tx.findBy(nics, { machineId, removedAt: IsNull() });
  for (const { id, networkId, role } of rows) {
    await tx.delete(guestAddresses, { nicId: id });
    if (role === 'public') await freePublicIpOfNic(tx, id);
    else if (role !== 'guest') await freePrivateAddresses(tx, id);
    await tx.update(nics, { id }, { removedAt: new Date() });
    if (networkId) await touchNetwork(tx, networkId);
  }
}

/** The network's router must hear of a change: its configuration gets a new generation. */
export async function touchNetwork(tx: Tx, networkId: Id<'network'>): Promise<void> {
  await tx.query('UPDATE network SET configuration_generation = configuration_generation + 1 WHERE id = ?', [networkId]);
}

async function takeGuestAddress(tx: Tx, network: NetworkRow, nicId: Id<'nic'>, wanted: string | null): Promise<string> {
  const { first, last } = cidrRange(network.cidr);
  const gateway = ip4ToNumber(network.gateway);
  const take = async (number: number): Promise<boolean> => {
    const done = await tx.query('INSERT IGNORE INTO guest_address (id, network_id, address, nic_id) VALUES (?, ?, ?, ?)', [
      newId('guestAddress'),
      network.id,
      numberToIp4(number),
      nicId,
    ]);
    return done.affectedRows === 1;
  };
  if (wanted !== null) {
    const number = ip4ToNumber(wanted);
    if (number <= first || number >= last || number === gateway)
      throw new CloudError(
        'InvalidParameter',
        `the address ${wanted} is not one that a guest of ${network.name} (${network.cidr}) can have`,
      );
    if (!(await take(number)))
      throw new CloudError('InsufficientAddresses', `the address ${wanted} of the network ${network.name} is taken`);
    return wanted;
  }
  const used = new Set(
    (await tx.find(guestAddresses, { where: { networkId: network.id }, select: { address: true } })).map(({ address }) =>
      ip4ToNumber(address),
    ),
  );
  const size = last - first - 1;
  // A random start keeps two deployments from fighting for the same address.
  const start = randomInt(size);
  for (let i = 0; i < size; i++) {
    const number = first + 1 + ((start + i) % size);
    if (number === gateway || used.has(number)) continue;
    if (await take(number)) return numberToIp4(number);
  }
  throw new CloudError('InsufficientAddresses', `the network ${network.name} (${network.cidr}) has no free address`);
}
