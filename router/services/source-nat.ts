/** Guests reach the outside under the network's public address. */
import { address, device, networkOf } from '../encoders.ts';
import type { Compile } from './contribution.ts';

export const sourceNat: Compile = ({ sourceNat: section, guest, public: publicNic }) => {
  if (section === null || publicNic === null) return {};
  return {
    nft: {
      'chain source_nat': [
        'type nat hook postrouting priority srcnat; policy accept;',
        `oifname "${device(publicNic.device)}" ip saddr ${networkOf(guest.address, guest.prefix)} snat ip to ${address(section.publicAddress)}`,
      ],
    },
  };
};
