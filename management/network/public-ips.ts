/** Public addresses: one row each, moved by guarded updates. */
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import { publicIpStates } from '../../protocol/states/network.ts';
import { lock, move, type Tx } from '../core/db.ts';
import { ipRanges } from '../infra/index.ts';
import { type NetworkRow, type PublicIpRow, publicIps } from './entities.ts';

export interface PublicAddress {
  readonly address: string;
  readonly netmask: string;
  readonly gateway: string;
}

const FREE = `SELECT id FROM public_ip WHERE zone_id = ? AND state = 'Free'`;
const LOWEST = 'ORDER BY address_number LIMIT 1 FOR UPDATE SKIP LOCKED';
const SET_APART = 'ip_range_id IN (SELECT id FROM ip_range WHERE for_system_vms)';

/** The lowest free address of the zone, locked. Ranges set apart for system VMs serve these first, and tenants' networks never. */
async function lockFree(tx: Tx, zoneId: Id<'zone'>, taker: 'systemVm' | 'network'): Promise<PublicIpRow> {
  const [apart] = taker === 'systemVm' ? await tx.query(`${FREE} AND ${SET_APART} ${LOWEST}`, [zoneId]) : [];
  const [found] = apart ? [apart] : await tx.query(`${FREE} AND NOT ${SET_APART} ${LOWEST}`, [zoneId]);
  const row = found ? await lock(tx, publicIps, { id: found.id }) : null;
  if (!row)
    throw new CloudError(
      'InsufficientAddresses',
      'this zone has no free public address; an administrator can add a range with createVlanIpRange',
    );
  return row;
}

async function withRange(tx: Tx, { address, ipRangeId }: PublicIpRow): Promise<PublicAddress> {
  const { netmask, gateway } = await tx.findOneByOrFail(ipRanges, { id: ipRangeId });
  return { address, netmask, gateway };
}

/** For a system VM's own NIC. */
export async function takePublicIpForNic(tx: Tx, zoneId: Id<'zone'>, nicId: Id<'nic'>): Promise<PublicAddress> {
  const allocating = await move(tx, publicIps, publicIpStates, await lockFree(tx, zoneId, 'systemVm'), 'allocate', {
    nicId,
    allocatedAt: new Date(),
  });
  await move(tx, publicIps, publicIpStates, allocating, 'succeed');
  return withRange(tx, allocating);
}

export async function freePublicIpOfNic(tx: Tx, nicId: Id<'nic'>): Promise<void> {
  for (const row of await tx.findBy(publicIps, { nicId })) await freePublicIp(tx, row);
}

export async function freePublicIp(tx: Tx, row: PublicIpRow): Promise<void> {
  const releasing = await move(tx, publicIps, publicIpStates, row, 'release');
  await move(tx, publicIps, publicIpStates, releasing, 'succeed', {
    accountId: null,
    domainId: null,
    networkId: null,
    isSourceNat: false,
    nicId: null,
    allocatedAt: null,
  });
}

/** The network's source NAT address: the one it has, or the next free one; it stays the network's until that is deleted. */
export async function ensureSourceNat(tx: Tx, network: NetworkRow): Promise<PublicAddress> {
  const known = await tx.findOneBy(publicIps, { networkId: network.id, isSourceNat: true });
  if (known) return withRange(tx, known);
  const allocating = await move(tx, publicIps, publicIpStates, await lockFree(tx, network.zoneId, 'network'), 'allocate', {
    networkId: network.id,
    accountId: network.accountId,
    domainId: network.domainId,
    isSourceNat: true,
    allocatedAt: new Date(),
  });
  await move(tx, publicIps, publicIpStates, allocating, 'succeed');
  return withRange(tx, allocating);
}

export async function freePublicIpsOfNetwork(tx: Tx, networkId: Id<'network'>): Promise<void> {
  for (const row of await tx.findBy(publicIps, { networkId })) await freePublicIp(tx, row);
}
