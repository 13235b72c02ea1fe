/** Rules of address ranges: of pods, of public addresses, of the storage network. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { addressesBetween, cidrOf, cidrRange, cidrsOverlap, ip4ToNumber, numberToIp4, prefixOfNetmask } from '../../protocol/ip4.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import { hosts, ipRanges, podRanges, pods, type ZoneRow } from './entities.ts';

/** Belongs to hosts and their system VMs; see control addresses. */
export const CONTROL_CIDR = '169.254.0.0/16';

export interface RangeRequest {
  readonly gateway: string;
  readonly netmask: string;
  readonly startIp: string;
  /** Left out: to the end of the network. */
  readonly endIp?: string | undefined;
}
export interface Range {
  readonly gateway: string;
  readonly netmask: string;
  readonly startIp: string;
  readonly endIp: string;
  /** The network they all lie in. */
  readonly cidr: string;
}

/** A range that makes sense by itself, or InvalidParameter saying what does not. */
export function checkRange({ gateway, netmask, startIp, endIp }: RangeRequest): Range {
  const prefix = prefixOfNetmask(netmask);
  if (prefix < 8 || prefix > 30)
    throw new CloudError('InvalidParameter', `the netmask ${netmask} is of no use here; take one from 255.0.0.0 to 255.255.255.252`);
  const cidr = cidrOf(gateway, prefix);
  const { first, last } = cidrRange(cidr);
  const end = endIp ?? numberToIp4(last - 1);
  const numbers = { 'the gateway': gateway, 'the first address': startIp, 'the last address': end };
  for (const [what, address] of Object.entries(numbers)) {
    const number = ip4ToNumber(address);
    if (number <= first || number >= last)
      throw new CloudError('InvalidParameter', `${what} ${address} is not an address of a machine in the network ${cidr}`);
  }
  const [from, to, router] = [ip4ToNumber(startIp), ip4ToNumber(end), ip4ToNumber(gateway)];
  if (from > to) throw new CloudError('InvalidParameter', `the range ends (${end}) before it starts (${startIp})`);
  if (router >= from && router <= to)
    throw new CloudError('InvalidParameter', `the gateway ${gateway} lies in the range ${startIp} to ${end}; it must be outside`);
  if (cidrsOverlap(cidr, CONTROL_CIDR))
    throw new CloudError(
      'InvalidParameter',
      `the network ${cidr} overlaps ${CONTROL_CIDR}, which the cloud uses for its own control traffic`,
    );
  return { gateway, netmask, startIp, endIp: end, cidr };
}

export const addressesOf = ({ startIp, endIp }: Pick<Range, 'startIp' | 'endIp'>): string[] => addressesBetween(startIp, endIp);

export const rangesOverlap = (one: Pick<Range, 'startIp' | 'endIp'>, other: Pick<Range, 'startIp' | 'endIp'>): boolean =>
  ip4ToNumber(one.startIp) <= ip4ToNumber(other.endIp) && ip4ToNumber(other.startIp) <= ip4ToNumber(one.endIp);

/** What of a range is not in the other: nothing, or one part, or one before and one after it. Pure. */
export function outside(
  range: Pick<Range, 'startIp' | 'endIp'>,
  other: Pick<Range, 'startIp' | 'endIp'>,
): Pick<Range, 'startIp' | 'endIp'>[] {
  if (!rangesOverlap(range, other)) return [range];
  const [start, end] = [ip4ToNumber(range.startIp), ip4ToNumber(range.endIp)];
  const [otherStart, otherEnd] = [ip4ToNumber(other.startIp), ip4ToNumber(other.endIp)];
  return [
    ...(start < otherStart ? [{ startIp: range.startIp, endIp: numberToIp4(otherStart - 1) }] : []),
    ...(end > otherEnd ? [{ startIp: numberToIp4(otherEnd + 1), endIp: range.endIp }] : []),
  ];
}

/** Throws unless no address of the range is in another range of the zone, or that of a gateway or host. The caller holds the zone's row, so that stays so. */
export async function mustBeFree(
  tx: Tx,
  zone: Pick<ZoneRow, 'id' | 'guestCidr'>,
  range: Range,
  except: string | null = null,
): Promise<void> {
  if (cidrsOverlap(range.cidr, zone.guestCidr))
    throw new CloudError('InvalidParameter', `the network ${range.cidr} overlaps ${zone.guestCidr}, from which guest networks are made`);
  const ofPods = await tx.find(pods, { where: { zoneId: zone.id, removedAt: IsNull() } });
  const others = [
    ...(await tx.findBy(podRanges, { zoneId: zone.id })).flatMap((each) => {
      const pod = ofPods.find(({ id }) => id === each.podId);
      return pod ? { ...each, gateway: pod.gateway, what: 'a pod' } : [];
    }),
    ...(await tx.findBy(ipRanges, { zoneId: zone.id, removedAt: IsNull() })).map((each) => ({
      ...each,
      what: each.kind === 'public' ? 'the public addresses' : 'the storage network',
    })),
  ].filter(({ id }) => id !== except);
  const clash = others.find((other) => rangesOverlap(other, range));
  if (clash)
    throw new CloudError(
      'InvalidParameter',
      `the range ${range.startIp} to ${range.endIp} overlaps ${clash.startIp} to ${clash.endIp} of ${clash.what} in this zone`,
    );
  const routed = others.find(({ gateway }) => holds(range, gateway));
  if (routed)
    throw new CloudError(
      'InvalidParameter',
      `the range ${range.startIp} to ${range.endIp} holds ${routed.gateway}, the gateway of ${routed.what} in this zone`,
    );
  const given = others.find((other) => holds(other, range.gateway));
  if (given)
    throw new CloudError(
      'InvalidParameter',
      `the gateway ${range.gateway} lies in the range ${given.startIp} to ${given.endIp} of ${given.what} in this zone`,
    );
  const host = (await tx.find(hosts, { where: { zoneId: zone.id, removedAt: IsNull() }, select: { name: true, address: true } })).find(
    ({ address }) => holds(range, address),
  );
  if (host)
    throw new CloudError(
      'InvalidParameter',
      `the range ${range.startIp} to ${range.endIp} holds ${host.address}, the address of the host ${host.name}`,
    );
}

const holds = (range: Pick<Range, 'startIp' | 'endIp'>, address: string): boolean =>
  rangesOverlap(range, { startIp: address, endIp: address });

/** Pods of one zone are networks of their own. */
export async function mustBeOwnNetwork(tx: Tx, zoneId: Id<'zone'>, cidr: string, except: string | null = null): Promise<void> {
  const others = await tx.findBy(pods, { zoneId, removedAt: IsNull() });
  const clash = others.find((pod) => pod.id !== except && cidrsOverlap(cidrOf(pod.gateway, pod.netmask), cidr));
  if (clash)
    throw new CloudError(
      'InvalidParameter',
      `the network ${cidr} overlaps ${cidrOf(clash.gateway, clash.netmask)} of the pod ${clash.name}`,
    );
}
