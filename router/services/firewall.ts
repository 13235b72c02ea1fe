/** What guests may reach outside. `chain egress` sees the first packet of each connection from the guest to the public NIC. */
import { cidrsOverlap } from '../../protocol/ip4.ts';
import type { Firewall } from '../../protocol/network-services/firewall.ts';
import { cidr, integer } from '../encoders.ts';
import type { Compile } from './contribution.ts';

type EgressRule = Firewall['egress'][number];
type PortRange = readonly [start: number, end: number];

/** Joins ranges that overlap or touch, because an nft set takes only separate ones. */
export function mergePorts(ranges: readonly PortRange[]): PortRange[] {
  const merged: [number, number][] = [];
  for (const [start, end] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && start <= last[1] + 1) last[1] = Math.max(last[1], end);
    else merged.push([start, end]);
  }
  return merged;
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return [...groups.values()];
}

const unique = (values: readonly string[]): string[] => [...new Set(values)].sort();
/** A set of networks; nft itself joins those that lie in one another. */
const anyOf = (values: readonly string[]): string => (values.length === 1 ? String(values[0]) : `{ ${values.join(', ')} }`);
/** 0.0.0.0/0 matches every packet, so there is nothing to compare. */
const matchNetworks = (field: 'saddr' | 'daddr', networks: readonly string[]): string =>
  networks.includes('0.0.0.0/0') ? '' : `ip ${field} ${anyOf(withoutNested(networks))} `;

/** Networks that lie in another of the list go: an anonymous set refuses overlapping ones. */
export function withoutNested(networks: readonly string[]): string[] {
  const prefixOf = (network: string): number => Number(network.split('/')[1]);
  const kept: string[] = [];
  for (const network of unique(networks).sort((a, b) => prefixOf(a) - prefixOf(b))) {
    if (!kept.some((wider) => cidrsOverlap(wider, network))) kept.push(network);
  }
  return kept.sort();
}

const icmpMatch = (type: number, code: number): string => {
  if (type < 0) return 'meta l4proto icmp ';
  return code < 0 ? `icmp type ${integer(type)} ` : `icmp type ${integer(type)} icmp code ${integer(code)} `;
};

/** The part of a rule that is about protocol and ports, ready for nft. */
function matchOf(rules: readonly EgressRule[]): string {
  const first = rules[0]?.match;
  if (first === undefined || first.protocol === 'all') return '';
  if (first.protocol === 'icmp') return icmpMatch(first.icmpType, first.icmpCode);
  const ports = mergePorts(
    rules.flatMap(({ match }): PortRange[] =>
      match.protocol === 'tcp' || match.protocol === 'udp'
        ? [[Math.min(match.startPort, match.endPort), Math.max(match.startPort, match.endPort)]]
        : [],
    ),
  );
  return `${first.protocol} dport ${anyOf(ports.map(([start, end]) => (start === end ? integer(start) : `${integer(start)}-${integer(end)}`)))} `;
}

/**
 * Many rules become few: first the ports of equal networks come together, then the sources of equal destinations and ports, then the
 * destinations. All exceptions have the same verdict, so their order does not matter.
 */
export function egressLines(egress: readonly EgressRule[], verdict: string): string[] {
  const kind = ({ match }: EgressRule): string => (match.protocol === 'icmp' ? `icmp ${match.icmpType} ${match.icmpCode}` : match.protocol);
  const rules = egress.map((rule) => ({ ...rule, sourceCidr: cidr(rule.sourceCidr), destinationCidr: cidr(rule.destinationCidr) }));
  const byNetworks = groupBy(rules, (rule) => `${kind(rule)}|${rule.sourceCidr}|${rule.destinationCidr}`).map((group) => ({
    match: matchOf(group),
    source: group[0]?.sourceCidr ?? '',
    destination: group[0]?.destinationCidr ?? '',
  }));
  const bySources = groupBy(byNetworks, ({ match, destination }) => `${match}|${destination}`).map((group) => ({
    match: group[0]?.match ?? '',
    sources: unique(group.map(({ source }) => source)),
    destination: group[0]?.destination ?? '',
  }));
  return groupBy(bySources, ({ match, sources }) => `${match}|${sources.join()}`)
    .map((group) => {
      const destinations = unique(group.map(({ destination }) => destination));
      return `${matchNetworks('saddr', group[0]?.sources ?? [])}${matchNetworks('daddr', destinations)}${group[0]?.match ?? ''}${verdict}`;
    })
    .sort();
}

/** Refused, not dropped: a tenant's program learns at once that a rule is in its way. */
const REFUSE = 'reject with icmpx type admin-prohibited';

export const firewall: Compile = ({ firewall: section }) => {
  // A network whose offering has no firewall service has no egress rules either: its guests may go out.
  if (section === null) return { nft: { 'chain egress': ['accept'] } };
  const [exception, otherwise] = section.egressDefault === 'allow' ? [REFUSE, 'accept'] : ['accept', REFUSE];
  return { nft: { 'chain egress': [...egressLines(section.egress, exception), otherwise] } };
};
