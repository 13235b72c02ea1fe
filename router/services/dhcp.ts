/** Addresses by DHCP: a static entry for each NIC, and nothing for a MAC that is not known. */
import { isIPv4 } from 'node:net';
import { address, byAddress, hostName, integer, mac, networkOf } from '../encoders.ts';
import type { Compile } from './contribution.ts';

/**
 * The name in a `dhcp-host` line stands among other words, and a short name such as `ignore`, `infinite` or `12h` would be one of
 * them. A full name is none, unless it looks like an address.
 */
const nameWords = (name: string, domain: string): readonly string[] => {
  const fullName = `${hostName(name).split('.')[0]}.${hostName(domain)}`;
  return isIPv4(fullName) ? [] : [fullName];
};

/** Tag of NICs that are not the default ones of their machines: with two gateways a guest would take either. */
const ASIDE = 'aside';
const ONLY_FOR_DEFAULT = ['router', 'dns-server', 'domain-name', 'domain-search'];

export const dhcp: Compile = ({ dhcp: section, guest }) => {
  if (section === null) return {};
  const network = networkOf(guest.address, guest.prefix).split('/')[0] ?? '';
  const option = (name: string, values: readonly string[]): string[] =>
    values.length === 0 ? [] : [`dhcp-option=option:${name},${values.join(',')}`];
  return {
    dnsmasq: [
      `dhcp-range=${network},static,${address(section.netmask)},${integer(section.leaseSeconds)}`,
      'dhcp-authoritative',
      'dhcp-ignore=tag:!known',
      // A guest does not choose the name that others find it by.
      'dhcp-ignore-names',
      'dhcp-lease-max=65536',
      'no-ping',
      `domain=${hostName(section.domain)}`,
      ...option('router', [address(section.gateway)]),
      ...option('dns-server', section.dnsServers.map(address)),
      ...option('mtu', [integer(section.mtu)]),
      ...option('domain-search', [hostName(section.domain)]),
      // An option without a value is not sent at all.
      ...ONLY_FOR_DEFAULT.map((name) => `dhcp-option=tag:${ASIDE},option:${name}`),
    ],
    dnsmasqFiles: {
      'dhcp-hosts': {
        option: 'dhcp-hostsfile',
        content: [...section.hosts]
          .sort((a, b) => byAddress(a.address, b.address) || (a.mac < b.mac ? -1 : 1))
          .map(
            (host) =>
              `${[mac(host.mac), ...(host.isDefault === false ? [`set:${ASIDE}`] : []), address(host.address), ...nameWords(host.hostName, section.domain)].join(',')}\n`,
          )
          .join(''),
      },
    },
  };
};
