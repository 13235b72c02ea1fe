/** Names of the network's own domain are answered here, all others by the forwarders. */
import { address, byAddress, hostName } from '../encoders.ts';
import type { Compile } from './contribution.ts';

export const dns: Compile = ({ dns: section }) => {
  if (section === null) return {};
  const domain = hostName(section.domain);
  const names = (name: string): string[] => {
    const encoded = hostName(name);
    if (encoded.endsWith(`.${domain}`)) return [encoded, encoded.slice(0, -domain.length - 1)];
    // A dotted name of another domain is served as it is.
    return encoded.includes('.') ? [encoded] : [`${encoded}.${domain}`, encoded];
  };
  return {
    dnsmasq: [
      `local=/${domain}/`,
      ...section.forwarders.map((forwarder) => `server=${address(forwarder)}`),
      'domain-needed',
      'bogus-priv',
      'cache-size=2000',
      'dns-forward-max=300',
      'neg-ttl=30',
    ],
    dnsmasqFiles: {
      'dns-hosts': {
        option: 'addn-hosts',
        content: [...section.records]
          .sort((a, b) => byAddress(a.address, b.address) || (a.name < b.name ? -1 : 1))
          .map((record) => `${address(record.address)} ${names(record.name).join(' ')}\n`)
          .join(''),
      },
    },
  };
};
