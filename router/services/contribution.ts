import type { RouterConfiguration } from '../../protocol/messages/router.ts';

/** What one network service adds to the files and rules of a router. */
export interface Contribution {
  /** Lines of dnsmasq's configuration; a change starts dnsmasq anew. */
  readonly dnsmasq?: readonly string[];
  /** Files that dnsmasq reads again on a signal, by name; `option` tells dnsmasq of them. */
  readonly dnsmasqFiles?: Readonly<Record<string, { readonly option: 'dhcp-hostsfile' | 'addn-hosts'; readonly content: string }>>;
  /** Chains and sets of the router's own nftables table, such as `chain egress`, with the lines inside. */
  readonly nft?: Readonly<Record<string, readonly string[]>>;
  /** Sets of that table by name: what is new in one is added without a load of the whole table. */
  readonly nftSets?: Readonly<Record<string, { readonly type: string; readonly elements: readonly string[] }>>;
}

/** Pure: the same configuration gives the same contribution. A service that is switched off contributes nothing. */
export type Compile = (configuration: RouterConfiguration) => Contribution;
