/** THE LIST of network services: the shape of each section of a router's configuration. A section that is null is switched off. */
import { s } from '../schema.ts';
import { Dhcp } from './dhcp.ts';
import { Dns } from './dns.ts';
import { Firewall } from './firewall.ts';
import { SourceNat } from './source-nat.ts';
import { UserData } from './user-data.ts';

export const networkServiceSections = {
  dhcp: s.nullable(Dhcp),
  dns: s.nullable(Dns),
  sourceNat: s.nullable(SourceNat),
  userData: s.nullable(UserData),
  firewall: s.nullable(Firewall),
};
