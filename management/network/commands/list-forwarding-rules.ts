/**
 * Rules that forward a public address, or a port of it, to a machine. No command makes one yet, so there are none; but clients ask for them
 * with every list of machines, and would take a command that does not exist for a login that failed.
 */
import { command, reply } from '../../core/command.ts';
import { pageOf, pageParams } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { view } from '../../core/view.ts';
import { networkKind } from '../views.ts';

export const listPortForwardingRules = command({
  name: 'listPortForwardingRules',
  about: 'Lists rules that forward a port of a public address.',
  access: 'user',
  params: { ...pageParams, networkid: p.entity('rules of this network', networkKind, 'list') },
  reply: reply.list(view<never>('FirewallRuleResponse', 'portforwardingrule', {})),
  run: async (context, params) => pageOf<never>(context, params, []),
});

export const listIpForwardingRules = command({
  name: 'listIpForwardingRules',
  about: 'Lists rules that forward a public address as a whole.',
  access: 'user',
  params: pageParams,
  reply: reply.list(view<never>('FirewallRuleResponse', 'ipforwardingrule', {})),
  run: async (context, params) => pageOf<never>(context, params, []),
});
