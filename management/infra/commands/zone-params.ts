/** Parameters and checks that several commands of this folder share. */
import { CloudError } from '../../../protocol/errors.ts';
import { cidrRange, cidrsOverlap, numberToIp4 } from '../../../protocol/ip4.ts';
import { p } from '../../core/params.ts';
import { CONTROL_CIDR } from '../ranges.ts';

export const allocationStateParam = (about: string) => p.word(about, ['Enabled', 'Disabled']);

export const networkDomainPattern = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/;

export function mustBeGuestCidr(cidr: string): string {
  const { first, last, prefix } = cidrRange(cidr);
  if (prefix < 8 || prefix > 29)
    throw new CloudError('InvalidParameter', `guestcidraddress ${cidr} must have a prefix length from 8 to 29`);
  if (cidr !== `${numberToIp4(first)}/${prefix}`)
    throw new CloudError(
      'InvalidParameter',
      `guestcidraddress ${cidr} is an address in the network ${numberToIp4(first)}/${prefix}; give the network`,
    );
  if (last >= 224 * 2 ** 24 || first < 2 ** 24 || cidrsOverlap(cidr, '127.0.0.0/8') || cidrsOverlap(cidr, CONTROL_CIDR))
    throw new CloudError('InvalidParameter', `guestcidraddress ${cidr} is not a network that machines can have`);
  return cidr;
}
