import type { Firewall } from '../../../../protocol/network-services/firewall.ts';
import type { RouterRows } from '../rows.ts';

export const compileFirewall = ({ egressDefault }: RouterRows): Firewall => ({ egressDefault, egress: [] });
