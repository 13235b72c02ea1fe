/**
 * Which addresses a user's URL may reach. Everything that is not plainly somebody's public server is refused, unless the operator
 * has allowed its network.
 */
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';

export interface AddressRules {
  readonly allowedInternalCidrs: readonly string[];
  /** Networks of the cloud itself. */
  readonly ownCidrs: readonly string[];
}

/**
 * Not in this list: the documentation networks 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24. They are nobody's internal network,
 * and a laboratory uses them to play the internet.
 */
const notPublic4: readonly (readonly [string, string])[] = [
  ['0.0.0.0/8', 'an address without a meaning'],
  ['10.0.0.0/8', 'a private address'],
  ['100.64.0.0/10', "an address inside a provider's network"],
  ['127.0.0.0/8', 'a loopback address'],
  ['169.254.0.0/16', 'a link-local address'],
  ['172.16.0.0/12', 'a private address'],
  ['192.0.0.0/24', 'a reserved address'],
  ['192.88.99.0/24', 'a reserved address'],
  ['192.168.0.0/16', 'a private address'],
  ['198.18.0.0/15', 'an address for laboratories'],
  ['224.0.0.0/4', 'a multicast address'],
  ['240.0.0.0/4', 'a reserved address'],
];
/** Of IPv6 only the global unicast range is public, and of that not these. */
const GLOBAL_UNICAST = '2000::/3';
const notPublic6: readonly (readonly [string, string])[] = [
  ['::/128', 'an address without a meaning'],
  ['::1/128', 'a loopback address'],
  ['2001::/23', 'a reserved address'],
  ['fc00::/7', 'a private address'],
  ['fe80::/10', 'a link-local address'],
  ['fec0::/10', 'a private address'],
  ['ff00::/8', 'a multicast address'],
];

type Range = readonly [ipaddr.IPv4 | ipaddr.IPv6, number];
const range = (cidr: string): Range => ipaddr.parseCIDR(cidr);
const inside = (address: ipaddr.IPv4 | ipaddr.IPv6, [network, prefix]: Range): boolean =>
  address.kind() === network.kind() && address.match(network, prefix);

const reserved4 = notPublic4.map(([cidr, what]) => [range(cidr), what] as const);
const reserved6 = notPublic6.map(([cidr, what]) => [range(cidr), what] as const);
const globalUnicast = range(GLOBAL_UNICAST);
/** Where an IPv6 address holds an IPv4 address that it leads to: the range and the byte at which it starts. */
const embeddings: readonly (readonly [Range, number])[] = [
  [range('::ffff:0:0/96'), 12],
  [range('64:ff9b::/96'), 12],
  [range('2002::/16'), 2],
  [range('::/96'), 12],
];

/** The address that packets really go to. */
function target(address: ipaddr.IPv4 | ipaddr.IPv6): ipaddr.IPv4 | ipaddr.IPv6 {
  if (address.kind() === 'ipv4' || reserved6.slice(0, 2).some(([reserved]) => inside(address, reserved))) return address;
  const bytes = address.toByteArray();
  for (const [embedding, offset] of embeddings) if (inside(address, embedding)) return new ipaddr.IPv4(bytes.slice(offset, offset + 4));
  return address;
}

const ownAddresses = (): readonly string[] =>
  Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => ipaddr.parse(address).toString()));

/** Why an address must not be reached, as a noun; null when it may. */
export function denial(addressText: string, rules: AddressRules, own: readonly string[] = ownAddresses()): string | null {
  if (isIP(addressText) === 0) return 'not an address';
  const address = target(ipaddr.parse(addressText));
  if (rules.allowedInternalCidrs.some((cidr) => inside(address, range(cidr)))) return null;
  if (own.includes(address.toString())) return 'an address of this machine';
  if (rules.ownCidrs.some((cidr) => inside(address, range(cidr)))) return 'an address of the cloud itself';
  const reserved = (address.kind() === 'ipv4' ? reserved4 : reserved6).find(([network]) => inside(address, network));
  if (reserved !== undefined) return reserved[1];
  return address.kind() === 'ipv6' && !inside(address, globalUnicast) ? 'a reserved address' : null;
}
