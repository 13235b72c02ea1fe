/** IPv4 arithmetic. Addresses are dotted text at the boundaries and unsigned numbers in between. */
import { isIPv4 } from 'node:net';
import { CloudError } from './errors.ts';

/** Largest range that is ever written out address by address. */
const ADDRESSES_MAX = 65_536;

export function ip4ToNumber(address: string): number {
  if (!isIPv4(address)) throw new CloudError('InvalidParameter', `${address.slice(0, 60)} is not an IPv4 address`);
  return address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

export const numberToIp4 = (value: number): string => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');

/** 24 for 255.255.255.0. Throws for a mask whose ones are not all in front. */
export function prefixOfNetmask(netmask: string): number {
  const hosts = 2 ** 32 - ip4ToNumber(netmask);
  const hostBits = Math.log2(hosts);
  if (!Number.isInteger(hostBits)) throw new CloudError('InvalidParameter', `${netmask} is not a netmask`);
  return 32 - hostBits;
}

export function netmaskOfPrefix(prefix: number): string {
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > 32) throw new CloudError('InvalidParameter', `/${prefix} is not a prefix length`);
  return numberToIp4(2 ** 32 - 2 ** (32 - prefix));
}

export interface CidrRange {
  /** The network's own address. */
  readonly first: number;
  /** Its last address, the broadcast address of anything shorter than /31. */
  readonly last: number;
  readonly prefix: number;
}
export function cidrRange(cidr: string): CidrRange {
  const [address = '', length = ''] = cidr.split('/');
  const prefix = /^\d{1,2}$/.test(length) ? Number(length) : Number.NaN;
  if (!(prefix <= 32)) throw new CloudError('InvalidParameter', `${cidr.slice(0, 60)} is not a network such as 10.1.1.0/24`);
  const size = 2 ** (32 - prefix);
  const first = Math.floor(ip4ToNumber(address) / size) * size;
  return { first, last: first + size - 1, prefix };
}

export function cidrContains(cidr: string, address: string): boolean {
  const { first, last } = cidrRange(cidr);
  const value = ip4ToNumber(address);
  return value >= first && value <= last;
}

/** The network an address lies in: 10.1.1.0/24 for 10.1.1.7 and 24, or for 10.1.1.7 and 255.255.255.0. */
export function cidrOf(address: string, prefixOrNetmask: number | string): string {
  const prefix = typeof prefixOrNetmask === 'number' ? prefixOrNetmask : prefixOfNetmask(prefixOrNetmask);
  return `${numberToIp4(cidrRange(`${address}/${prefix}`).first)}/${prefix}`;
}

export const cidrsOverlap = (one: string, other: string): boolean => {
  const [a, b] = [cidrRange(one), cidrRange(other)];
  return a.first <= b.last && b.first <= a.last;
};

/** Every address from `start` to `end`, both included. */
export function addressesBetween(start: string, end: string): string[] {
  const [first, last] = [ip4ToNumber(start), ip4ToNumber(end)];
  if (first > last) throw new CloudError('InvalidParameter', `the range ends (${end}) before it starts (${start})`);
  if (last - first >= ADDRESSES_MAX)
    throw new CloudError('InvalidParameter', `the range ${start} to ${end} has more than ${ADDRESSES_MAX} addresses`);
  return Array.from({ length: last - first + 1 }, (_, index) => numberToIp4(first + index));
}
