import type { Dns } from '../../../../protocol/network-services/dns.ts';
import type { RouterRows } from '../rows.ts';

export const compileDns = ({ network, zone, guests }: RouterRows): Dns => ({
  domain: network.networkDomain,
  forwarders: [network.dns1 ?? zone.dns1, network.dns1 ? network.dns2 : zone.dns2].filter((address) => address !== null),
  records: guests.map(({ address, about }) => ({ name: about.hostName, address })),
});
