/** THE LIST of what a router can do; the names are those of `protocol/network-services`. */
import type { networkServiceSections } from '../../protocol/network-services/index.ts';
import type { Compile } from './contribution.ts';
import { dhcp } from './dhcp.ts';
import { dns } from './dns.ts';
import { firewall } from './firewall.ts';
import { sourceNat } from './source-nat.ts';
import { userData } from './user-data.ts';

export type ServiceName = keyof typeof networkServiceSections;
export const services = { dhcp, dns, sourceNat, userData, firewall } satisfies Record<ServiceName, Compile>;
