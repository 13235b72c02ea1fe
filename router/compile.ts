/** From a router's whole configuration to the texts that dnsmasq and nft take. Pure. */
import type { RouterConfiguration } from '../protocol/messages/router.ts';
import { address, device, integer, networkOf } from './encoders.ts';
import { type ServiceName, services } from './services/index.ts';

export interface DnsmasqPlan {
  readonly configuration: string;
  /** By path; dnsmasq reads them again on SIGHUP. */
  readonly files: Readonly<Record<string, string>>;
}
export interface RouterPlan {
  /** Null when neither DHCP nor DNS is wanted. */
  readonly dnsmasq: DnsmasqPlan | null;
  readonly ruleset: (options: { flowtable: boolean }) => string;
  /** Elements of its sets by name. */
  readonly sets: ReadonlyMap<string, readonly string[]>;
  /** Which service each chain and set of the ruleset belongs to. */
  readonly blockOwners: ReadonlyMap<string, ServiceName>;
}

const serviceNames: readonly ServiceName[] = ['dhcp', 'dns', 'sourceNat', 'userData', 'firewall'];

export function compileRouter(configuration: RouterConfiguration, folder: string): RouterPlan {
  const { guest, public: publicNic } = configuration;
  const contributions = serviceNames.map((name) => ({ name, ...services[name](configuration) }));
  const blockOwners = new Map<string, ServiceName>([
    ['chain spoofed', 'firewall'],
    ['chain forward', 'firewall'],
    ['flowtable fast', 'firewall'],
  ]);
  const blocks = new Map<string, readonly string[]>();
  const sets = new Map<string, readonly string[]>();
  for (const { name, nft = {}, nftSets = {} } of contributions) {
    for (const [block, lines] of Object.entries(nft)) {
      blocks.set(block, lines);
      blockOwners.set(block, name);
    }
    for (const [set, { type, elements }] of Object.entries(nftSets)) {
      blocks.set(`set ${set}`, [`type ${type}`, `elements = { ${elements.join(',\n      ')} }`]);
      blockOwners.set(`set ${set}`, name);
      sets.set(set, elements);
    }
  }

  const guestDevice = device(guest.device);
  const guestNetwork = networkOf(guest.address, guest.prefix);
  blocks.set('chain spoofed', [
    'type filter hook prerouting priority raw; policy accept;',
    // A guest that has no address yet asks for one from 0.0.0.0.
    `iifname "${guestDevice}" ip saddr 0.0.0.0 udp dport 67 accept`,
    `iifname "${guestDevice}" ip saddr != ${guestNetwork} drop`,
    `iifname "${guestDevice}" ip saddr ${address(guest.address)} drop`,
    `iifname != { "${guestDevice}", "lo" } ip saddr ${guestNetwork} drop`,
  ]);
  // Without source NAT there is no way out: the guests' own addresses mean nothing outside.
  const outside = publicNic !== null && configuration.sourceNat !== null ? device(publicNic.device) : null;
  const forward = (flowtable: boolean): string[] => [
    'type filter hook forward priority filter; policy drop;',
    'meta nfproto ipv6 drop',
    ...(flowtable && outside !== null ? ['ct state established meta l4proto { tcp, udp } flow add @fast'] : []),
    'ct state vmap { established : accept, related : accept, invalid : drop }',
    ...(outside !== null ? [`iifname . oifname vmap { "${guestDevice}" . "${outside}" : jump egress }`] : []),
  ];

  const dnsmasqFiles = contributions.flatMap(({ dnsmasqFiles: files = {} }) => Object.entries(files));
  const dnsmasqLines = [
    ...(configuration.dns === null ? ['port=0'] : []),
    `interface=${guestDevice}`,
    'except-interface=lo',
    `listen-address=${address(guest.address)}`,
    'bind-interfaces',
    'no-hosts',
    'no-resolv',
    'no-poll',
    `dhcp-leasefile=${folder}/leases`,
    ...contributions.flatMap(({ dnsmasq = [] }) => dnsmasq),
    ...dnsmasqFiles.map(([name, { option }]) => `${option}=${folder}/${name}`),
  ];

  return {
    dnsmasq:
      configuration.dhcp === null && configuration.dns === null
        ? null
        : {
            configuration: `${dnsmasqLines.join('\n')}\n`,
            files: Object.fromEntries(dnsmasqFiles.map(([name, { content }]) => [`${folder}/${name}`, content])),
          },
    // The first two lines make the load a replacement: the table exists, goes, and comes again in one transaction.
    ruleset: ({ flowtable }) => {
      const withFast = flowtable && outside !== null;
      const entries: [string, readonly string[]][] = [...blocks, ['chain forward', forward(withFast)]];
      if (withFast) entries.push(['flowtable fast', ['hook ingress priority filter', `devices = { ${guestDevice}, ${outside} }`]]);
      // Sets, then chains, so that nothing is used before it is declared.
      entries.sort(([a], [b]) => Number(a.startsWith('chain')) - Number(b.startsWith('chain')));
      const body = entries.map(([block, lines]) => `  ${block} {\n${lines.map((line) => `    ${line}\n`).join('')}  }\n`).join('');
      return `table inet nephos_router\ndelete table inet nephos_router\ntable inet nephos_router {\n${body}}\n`;
    },
    blockOwners,
    sets,
  };
}

export interface PresentNetwork {
  readonly nics: ReadonlyMap<string, { readonly addresses: readonly string[]; readonly mtu: number }>;
  readonly defaultRoutes: readonly { readonly device: string; readonly gateway: string }[];
}

/** Lines for `ip -batch` that make addresses and default route as configured; empty when they are so. */
export function compileAddresses({ guest, public: publicNic }: RouterConfiguration, present: PresentNetwork): string {
  const lines: string[] = [];
  const guestDevice = device(guest.device);
  if (present.nics.get(guest.device)?.mtu !== guest.mtu) lines.push(`link set dev ${guestDevice} mtu ${integer(guest.mtu)}`);
  let isMoved = false;
  for (const nic of publicNic === null ? [guest] : [guest, publicNic]) {
    const wanted = `${address(nic.address)}/${integer(nic.prefix)}`;
    const addresses = present.nics.get(nic.device)?.addresses ?? [];
    if (addresses.length === 1 && addresses[0] === wanted) continue;
    isMoved = true;
    const name = device(nic.device);
    lines.push(`addr flush dev ${name}`, `addr add ${wanted} broadcast + dev ${name}`, `link set dev ${name} up`);
  }
  if (publicNic === null) return lines.map((line) => `${line}\n`).join('');
  const name = device(publicNic.device);
  const gateway = address(publicNic.gateway);
  const isRouted = present.defaultRoutes.some((route) => route.device === name && route.gateway === gateway);
  if (isMoved || !isRouted) lines.push(`route replace default via ${gateway} dev ${name}`);
  return lines.map((line) => `${line}\n`).join('');
}

/** Kernel settings of a router, below /proc/sys; forwarding comes last, when the rules are in place. */
export const routerSysctls: readonly (readonly [name: string, value: string])[] = [
  ['net/ipv4/conf/all/rp_filter', '1'],
  ['net/ipv4/conf/default/rp_filter', '1'],
  ['net/ipv4/conf/all/accept_redirects', '0'],
  ['net/ipv4/conf/all/send_redirects', '0'],
  ['net/ipv4/conf/default/send_redirects', '0'],
  ['net/ipv4/conf/all/accept_source_route', '0'],
  // An address is answered for only on the NIC it belongs to: guests do not see the control or the public one.
  ['net/ipv4/conf/all/arp_ignore', '1'],
  ['net/ipv4/conf/all/arp_announce', '2'],
  ['net/ipv4/conf/all/arp_notify', '1'],
  ['net/netfilter/nf_conntrack_max', integer(65_536)],
  ['net/netfilter/nf_conntrack_tcp_timeout_established', integer(86_400)],
];
