import type { Dhcp } from '../../../../protocol/network-services/dhcp.ts';
import type { RouterRows } from '../rows.ts';

const LEASE_SECONDS = 86_400;

export const compileDhcp = ({ network, guests }: RouterRows): Dhcp => ({
  gateway: network.gateway,
  netmask: network.netmask,
  dnsServers: [network.gateway],
  domain: network.networkDomain,
  mtu: network.mtu,
  leaseSeconds: LEASE_SECONDS,
  hosts: guests.map(({ mac, address, about, isDefault }) => ({
    mac,
    address,
    hostName: about.hostName,
    ...(isDefault ? {} : { isDefault }),
  })),
});
