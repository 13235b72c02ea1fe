/** Addresses of the cloud's own networks for NICs of system VMs: management (of a pod), storage (of a range), control (of a zone). */
import { randomInt } from 'node:crypto';
import { In, IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { cidrRange, ip4ToNumber, netmaskOfPrefix, numberToIp4 } from '../../protocol/ip4.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import { type IpRangeRow, ipRanges, type PrivateAddressRow, podRanges, pods, privateAddresses } from './entities.ts';
import { addressesOf, CONTROL_CIDR, outside, type Range, rangesOverlap } from './ranges.ts';

export interface TakenAddress {
  readonly address: string;
  readonly netmask: string;
  /** Null where there is none: the control network is never routed. */
  readonly gateway: string | null;
}
export interface AddressRequest {
  readonly kind: 'management' | 'storage' | 'control';
  readonly zoneId: Id<'zone'>;
  /** Needed for management; preferred for storage. */
  readonly podId?: Id<'pod'> | null;
  readonly nicId: Id<'nic'>;
}

/** The host's own end of the control network; the same on every host. */
export const HOST_CONTROL_ADDRESS = '169.254.0.1';
/** Where clouds serve metadata by custom; guests' traffic to it must not meet a system VM. */
const METADATA_ADDRESS = '169.254.169.254';
const CONTROL_TRIES = 64;
const ROWS_AT_ONCE = 1000;

/** An address that nobody else has until `freePrivateAddresses`. Throws InsufficientAddresses. */
export async function takePrivateAddress(tx: Tx, { kind, zoneId, podId = null, nicId }: AddressRequest): Promise<TakenAddress> {
  switch (kind) {
    case 'management':
      return takeManagement(tx, podId, nicId);
    case 'storage':
      return takeStorage(tx, zoneId, podId, nicId);
    case 'control':
      return takeControl(tx, zoneId, nicId);
  }
}

/** Gives back what this NIC has of them. */
export async function freePrivateAddresses(tx: Tx, nicId: Id<'nic'>): Promise<void> {
  await tx.delete(privateAddresses, { nicId, kind: 'control' });
  await tx.update(privateAddresses, { nicId }, { nicId: null, takenAt: null });
}

async function takeManagement(tx: Tx, podId: Id<'pod'> | null, nicId: Id<'nic'>): Promise<TakenAddress> {
  if (podId === null) throw new CloudError('Internal', 'a management address is of a pod, and none was named');
  const pod = await tx.findOneByOrFail(pods, { id: podId });
  const taken = await takeFree(tx, 'management', [podId], nicId);
  if (!taken)
    throw new CloudError(
      'InsufficientAddresses',
      `the pod ${pod.name} has no free management address; an administrator can add a range with createManagementNetworkIpRange`,
    );
  return { address: taken.address, netmask: pod.netmask, gateway: pod.gateway };
}

async function takeStorage(tx: Tx, zoneId: Id<'zone'>, podId: Id<'pod'> | null, nicId: Id<'nic'>): Promise<TakenAddress> {
  const ranges = await tx.findBy(ipRanges, { zoneId, kind: 'storage', removedAt: IsNull() });
  const own = ranges.filter((range) => range.podId === podId);
  for (const from of [own, ranges.filter((range) => range.podId !== podId)]) {
    const taken = await takeFree(
      tx,
      'storage',
      from.map(({ id }) => id),
      nicId,
    );
    const range = taken && ranges.find(({ id }) => id === taken.scopeId);
    if (range) return { address: taken.address, netmask: range.netmask, gateway: range.gateway };
  }
  throw new CloudError(
    'InsufficientAddresses',
    'this zone has no free storage address; an administrator can add a range with createStorageNetworkIpRange',
  );
}

/** The one that was made first. Rows that another transaction is just taking are passed over, so nobody waits. */
async function takeFree(
  tx: Tx,
  kind: PrivateAddressRow['kind'],
  scopeIds: readonly string[],
  nicId: Id<'nic'>,
): Promise<{ address: string; scopeId: string } | null> {
  if (scopeIds.length === 0) return null;
  const [found] = await tx.query(
    `SELECT id, address, scope_id AS scopeId FROM private_address WHERE scope_id IN (?) AND kind = ? AND nic_id IS NULL
      ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED`,
    [scopeIds, kind],
  );
  if (!found) return null;
  await tx.update(privateAddresses, { id: found.id }, { nicId, takenAt: new Date() });
  return found;
}

/** Any address of the link-local network but the hosts' and the metadata server's; the unique key keeps two NICs apart. */
async function takeControl(tx: Tx, zoneId: Id<'zone'>, nicId: Id<'nic'>): Promise<TakenAddress> {
  const { first, last, prefix } = cidrRange(CONTROL_CIDR);
  const never = [HOST_CONTROL_ADDRESS, METADATA_ADDRESS];
  for (let tries = 0; tries < CONTROL_TRIES; tries++) {
    const address = numberToIp4(randomInt(first + 1, last));
    if (never.includes(address)) continue;
    const { affectedRows } = await tx.query(
      `INSERT IGNORE INTO private_address (id, kind, zone_id, scope_id, address, nic_id, taken_at) VALUES (?, 'control', ?, ?, ?, ?, ?)`,
      [newId('privateAddress'), zoneId, zoneId, address, nicId, new Date()],
    );
    if (affectedRows === 1) return { address, netmask: netmaskOfPrefix(prefix), gateway: null };
  }
  throw new CloudError('InsufficientAddresses', 'this zone has no free control address');
}

/** Rows for every address of a new range, each free. */
export async function addPrivateAddresses(
  tx: Tx,
  { kind, zoneId, scopeId }: Pick<PrivateAddressRow, 'kind' | 'zoneId' | 'scopeId'>,
  range: Pick<Range, 'startIp' | 'endIp'>,
): Promise<void> {
  const rows = addressesOf(range).map(
    (address): PrivateAddressRow => ({ id: newId('privateAddress'), kind, zoneId, scopeId, address, nicId: null, takenAt: null }),
  );
  for (let at = 0; at < rows.length; at += ROWS_AT_ONCE) await tx.insert(privateAddresses, rows.slice(at, at + ROWS_AT_ONCE));
}

/** Takes the addresses of a range away; throws while a NIC has one of them. */
export async function removePrivateAddresses(
  tx: Tx,
  { kind, scopeId }: Pick<PrivateAddressRow, 'kind' | 'scopeId'>,
  range: Pick<Range, 'startIp' | 'endIp'>,
): Promise<void> {
  const held = await tx.find(privateAddresses, { where: { kind, scopeId }, lock: { mode: 'pessimistic_write' } });
  const [from, to] = [ip4ToNumber(range.startIp), ip4ToNumber(range.endIp)];
  const inside = held.filter(({ address }) => ip4ToNumber(address) >= from && ip4ToNumber(address) <= to);
  const taken = inside.filter(({ nicId }) => nicId !== null);
  if (taken.length > 0)
    throw new CloudError(
      'InUse',
      `${taken.length} address(es) of the range ${range.startIp} to ${range.endIp} are in use, such as ${taken[0]?.address}; destroy the system VMs that have them first`,
    );
  for (let at = 0; at < inside.length; at += ROWS_AT_ONCE)
    await tx.delete(privateAddresses, { id: In(inside.slice(at, at + ROWS_AT_ONCE).map(({ id }) => id)) });
}

/** Moves the ends of a range: what is in both stays as it is, what it loses must be free. */
export async function movePrivateAddresses(
  tx: Tx,
  scope: Pick<PrivateAddressRow, 'kind' | 'zoneId' | 'scopeId'>,
  before: Pick<Range, 'startIp' | 'endIp'>,
  after: Pick<Range, 'startIp' | 'endIp'>,
): Promise<void> {
  for (const lost of outside(before, after)) await removePrivateAddresses(tx, scope, lost);
  for (const gained of outside(after, before)) await addPrivateAddresses(tx, scope, gained);
}

export const hasStorageNetwork = async (tx: Tx, zoneId: Id<'zone'>): Promise<boolean> =>
  (await tx.countBy(ipRanges, { zoneId, kind: 'storage', removedAt: IsNull() })) > 0;

/** Throws when a system VM could be given the address of a host, or the other way round. */
export async function mustBeOutsideRanges(tx: Tx, zoneId: Id<'zone'>, address: string): Promise<void> {
  const reserved: readonly (Pick<IpRangeRow, 'startIp' | 'endIp'> & { what: string })[] = [
    ...(await tx.findBy(podRanges, { zoneId })).map((each) => ({ ...each, what: 'system VMs' })),
    ...(await tx.findBy(ipRanges, { zoneId, removedAt: IsNull() })).map((each) => ({ ...each, what: `${each.kind} addresses` })),
  ];
  const clash = reserved.find((range) => rangesOverlap(range, { startIp: address, endIp: address }));
  if (clash)
    throw new CloudError(
      'InvalidParameter',
      `the address ${address} lies in the range ${clash.startIp} to ${clash.endIp}, which this zone gives to ${clash.what}`,
    );
}
