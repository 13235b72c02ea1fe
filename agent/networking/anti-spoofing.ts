/**
 * What machines may send, decided at their taps in one nftables table that is always replaced whole. Guests send from their own addresses
 * only and play neither DHCP server nor router; system VMs may use the control network for the relay and for answers, and never reach each
 * other over it.
 */
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import { attempt } from '../processes.ts';
import { turns } from '../turns.ts';
import { nftFile } from './nft.ts';

export interface GuardedNic {
  readonly tap: string;
  readonly mac: string;
  readonly network: 'control' | 'bridge' | 'vxlan';
  /** Null: not checked. */
  readonly addresses: readonly string[] | null;
}

const RELAY_PORT = 8250;

const elements = (values: readonly string[]): string => (values.length === 0 ? '' : `elements = { ${values.join(', ')} }`);

/** The whole table. Names, MACs and addresses have been checked by the messages' schemas and contain nothing that nft would read otherwise. */
export function compileAntiSpoofing(nics: readonly GuardedNic[], controlHost: string | null): string {
  const checked = nics.filter(({ addresses }) => addresses !== null);
  const control = nics.filter(({ network, addresses }) => network === 'control' && addresses === null);
  const tapAddresses = checked.flatMap(({ tap, addresses }) => (addresses ?? []).map((address) => `"${tap}" . ${address}`));
  return `add table bridge nephos
delete table bridge nephos
table bridge nephos {
  set checked { type ifname; ${elements(checked.map(({ tap }) => `"${tap}"`))} }
  set control { type ifname; ${elements(control.map(({ tap }) => `"${tap}"`))} }
  set macs { type ifname . ether_addr; ${elements(checked.map(({ tap, mac }) => `"${tap}" . ${mac}`))} }
  set addresses { type ifname . ipv4_addr; ${elements(tapAddresses)} }
  chain guest {
    iifname . ether saddr != @macs drop
    ether type { 0x8100, 0x88a8, 0x9100 } drop
    ether type arp iifname . arp saddr ether != @macs drop
    ether type arp arp saddr ip 0.0.0.0 accept
    ether type arp iifname . arp saddr ip @addresses accept
    ether type ip udp sport 67 drop
    ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    ether type ip iifname . ip saddr @addresses accept
    drop
  }
  chain system {
    ether type { 0x8100, 0x88a8, 0x9100 } drop
    ether type arp accept
    ether type ip ip daddr != ${controlHost ?? '0.0.0.0'} drop
    ether type ip ip protocol icmp accept
    ether type ip tcp flags & (syn | ack) != syn accept
    ether type ip tcp dport ${RELAY_PORT} accept
    drop
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname @checked goto guest
    iifname @control goto system
  }
  chain forward {
    type filter hook forward priority -200; policy accept;
    iifname @control oifname @control drop
  }
}
`;
}

export interface AntiSpoofing {
  /** Before the machine's taps exist, so that not one frame goes unchecked. */
  admit(machineId: Id<'machine'>, nics: readonly GuardedNic[]): Promise<void>;
  /** Keeps only these machines and those being started. */
  keep(running: ReadonlyMap<Id<'machine'>, readonly GuardedNic[]>): Promise<void>;
  /** The machine is running now, or will not; from here `keep` decides. */
  settle(machineId: Id<'machine'>): void;
  controlHost(address: string): Promise<void>;
  /** Loads the table again when somebody has emptied the host's rules. */
  check(): Promise<void>;
}

export function antiSpoofing(load: (ruleset: string) => Promise<void> = loadRuleset): AntiSpoofing {
  const inTurn = turns();
  const starting = new Set<Id<'machine'>>();
  let machines = new Map<Id<'machine'>, readonly GuardedNic[]>();
  let control: string | null = null;
  let loaded: string | null = null;

  const apply = (): Promise<void> =>
    inTurn.take('table', async () => {
      const ruleset = compileAntiSpoofing([...machines.values()].flat(), control);
      if (ruleset === loaded) return;
      await load(ruleset);
      loaded = ruleset;
    });

  return {
    admit: async (machineId, nics) => {
      starting.add(machineId);
      machines.set(machineId, nics);
      await apply();
    },
    keep: async (running) => {
      const kept = new Map(running);
      for (const machineId of starting) {
        const nics = machines.get(machineId);
        if (nics) kept.set(machineId, nics);
      }
      machines = kept;
      await apply();
    },
    settle: (machineId) => {
      starting.delete(machineId);
    },
    controlHost: async (address) => {
      control = address;
      await apply();
    },
    check: async () => {
      if ((await attempt('nft', ['-t', 'list', 'table', 'bridge', 'nephos'])).code === 0) return;
      loaded = null;
      await apply();
    },
  };
}

const loadRuleset = async (ruleset: string): Promise<void> => {
  const { code, stderr } = await nftFile(ruleset);
  if (code !== 0)
    throw new CloudError('ResourceUnavailable', 'the host could not load the rules for its machines', { stderr: stderr.slice(0, 2000) });
};
