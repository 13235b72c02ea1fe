/** The rules around the metadata server: also found at 169.254.169.254, and asked only by who is at the address it speaks for. */
import { address, byAddress, device, mac } from '../encoders.ts';
import type { Compile } from './contribution.ts';

export const userData: Compile = ({ userData: section, dhcp, guest }) => {
  if (section === null) return {};
  const guestDevice = device(guest.device);
  const knownGuests = [...(dhcp?.hosts ?? [])]
    .sort((a, b) => byAddress(a.address, b.address) || (a.mac < b.mac ? -1 : 1))
    .map((host) => `${mac(host.mac)} . ${address(host.address)}`);
  const guard: Record<string, readonly string[]> =
    knownGuests.length === 0
      ? {}
      : {
          'chain user_data_guard': [
            'type filter hook input priority -10; policy accept;',
            // A guest that takes a neighbour's address does not get the neighbour's password.
            `iifname "${guestDevice}" tcp dport { 80, 8080 } ether saddr . ip saddr != @guests drop`,
          ],
        };
  return {
    nft: {
      'chain user_data': [
        'type nat hook prerouting priority dstnat; policy accept;',
        `iifname "${guestDevice}" ip daddr 169.254.169.254 tcp dport 80 dnat ip to ${address(guest.address)}`,
      ],
      ...guard,
    },
    ...(knownGuests.length === 0 ? {} : { nftSets: { guests: { type: 'ether_addr . ipv4_addr', elements: [...new Set(knownGuests)] } } }),
  };
};
