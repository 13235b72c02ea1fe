/** Rules on guest networks. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { cidrOf, cidrRange, cidrsOverlap, ip4ToNumber, netmaskOfPrefix, numberToIp4, prefixOfNetmask } from '../../protocol/ip4.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import { ipRanges, physicalNetworks } from '../infra/index.ts';
import { type NetworkRow, networks, nics } from './entities.ts';

/** The address block of a new network: from gateway and netmask, or the zone's usual one. */
export function addressBlock(
  { gateway, netmask }: { gateway?: string | undefined; netmask?: string | undefined },
  guestCidr: string,
): { gateway: string; netmask: string; cidr: string } {
  if (gateway !== undefined && netmask === undefined) throw new CloudError('InvalidParameter', 'a gateway goes together with a netmask');
  if (gateway === undefined && netmask !== undefined) throw new CloudError('InvalidParameter', 'a netmask goes together with a gateway');
  if (gateway === undefined || netmask === undefined) {
    const { first } = cidrRange(guestCidr);
    return { gateway: numberToIp4(first + 1), netmask: netmaskOfPrefix(Number(guestCidr.split('/')[1])), cidr: guestCidr };
  }
  const prefix = prefixOfNetmask(netmask);
  if (prefix < 16 || prefix > 29)
    throw new CloudError('InvalidParameter', `the netmask ${netmask} is not one of 255.255.0.0 to 255.255.255.248`);
  const size = 2 ** (32 - prefix);
  const first = Math.floor(ip4ToNumber(gateway) / size) * size;
  if (ip4ToNumber(gateway) === first || ip4ToNumber(gateway) === first + size - 1) {
    throw new CloudError('InvalidParameter', `the gateway ${gateway} is the first or last address of its network`);
  }
  return { gateway, netmask, cidr: `${numberToIp4(first)}/${prefix}` };
}

/** Blocks that mean something to every host and router, so that no guest network can have them. */
const RESERVED = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'];

/** A router stands in the guest network and in the public one at once; were the two alike, neither would be reached. */
export async function mustBeApart(tx: Tx, cidr: string, { id, name }: { readonly id: Id<'zone'>; readonly name: string }): Promise<void> {
  const reserved = RESERVED.find((block) => cidrsOverlap(block, cidr));
  if (reserved !== undefined)
    throw new CloudError('InvalidParameter', `the network ${cidr} overlaps with ${reserved}, whose addresses no guest can have`);
  const ranges = await tx.find(ipRanges, { where: { zoneId: id, kind: 'public', removedAt: IsNull() } });
  if (ranges.some(({ gateway, netmask }) => cidrsOverlap(cidrOf(gateway, netmask), cidr)))
    throw new CloudError('InvalidParameter', `the network ${cidr} overlaps with the public addresses of the zone ${name}; choose another`);
}

/** The lowest VXLAN number of the physical network that nobody has. The row of the physical network is the lock. */
export async function takeVni(tx: Tx, { physicalNetworkId }: NetworkRow): Promise<number> {
  const physical = await tx.findOneOrFail(physicalNetworks, { where: { id: physicalNetworkId }, lock: { mode: 'pessimistic_write' } });
  if (physical.vnetStart === null || physical.vnetEnd === null) {
    throw new CloudError(
      'InsufficientAddresses',
      `the physical network ${physical.name} has no VNET range; an administrator can give it one with updatePhysicalNetwork`,
    );
  }
  const taken = await tx.find(networks, { where: { physicalNetworkId, removedAt: IsNull() }, select: { vni: true } });
  const used = new Set(taken.map(({ vni }) => vni));
  for (let vni = physical.vnetStart; vni <= physical.vnetEnd; vni++) if (!used.has(vni)) return vni;
  throw new CloudError('InsufficientAddresses', `all VNETs of the physical network ${physical.name} are in use`);
}

/** Guest networks of a machine, its default one first. */
export async function networksOf(tx: Tx, machineId: Id<'machine'>): Promise<Id<'network'>[]> {
  const rows = await tx.find(nics, {
    where: { machineId, role: 'guest', removedAt: IsNull() },
    order: { isDefault: 'DESC', device: 'ASC' },
  });
  return rows.flatMap(({ networkId }) => networkId ?? []);
}

/** Throws while machines of users are in the network. */
export async function mustBeUnused(tx: Tx, { id, name }: NetworkRow): Promise<void> {
  const [row] = await tx.query(
    `SELECT COUNT(*) AS n, MIN(m.instance_name) AS example FROM nic c JOIN machine m ON m.id = c.machine_id
      WHERE c.network_id = ? AND c.removed_at IS NULL AND m.kind = 'guest' AND m.removed_at IS NULL`,
    [id],
  );
  if (Number(row.n) > 0)
    throw new CloudError(
      'InUse',
      `the network ${name} still has ${row.n} virtual machine(s) in it, such as ${row.example}; destroy and expunge them first`,
    );
}
