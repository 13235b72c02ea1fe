/**
 * Guest networks: for each a bridge and a VXLAN device without learning, whose forwarding entries are those management sent. Applied as the
 * difference between what is wanted and what the kernel has.
 */
import { join } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/log.ts';
import { HostNetworks } from '../../protocol/messages/host.ts';
import { s } from '../../protocol/schema.ts';
import { stateFile } from '../files.ts';
import { turns } from '../turns.ts';
import { type BatchLine, changeForwarding, changeLinks, type ForwardingEntry, type Link, readForwarding, readLinks } from './links.ts';
import { vxlanBridge, vxlanDevice } from './names.ts';

/** The port of the Linux kernel's VXLAN, which switches and firewalls around such hosts expect. */
const PORT = 8472;
/** A forwarding entry for this address stands for «everybody»: broadcasts, and addresses not known. */
const EVERYBODY = '00:00:00:00:00:00';

export interface GuestNetworks {
  apply(wanted: HostNetworks): Promise<number>;
  restore(): Promise<void>;
  /** Takes away networks that are wanted no longer and that the last machine has now left. */
  sweep(): Promise<void>;
  carries(vni: number): boolean;
}

/** What to do to the devices. Unwanted networks stay while something is plugged into them. */
export function compileLinks({ tunnelAddress, networks }: HostNetworks, seen: readonly Link[]): BatchLine[] {
  const byName = new Map(seen.map((link) => [link.name, link]));
  const lines: BatchLine[] = [];
  for (const { vni, mtu } of networks) {
    const bridge = vxlanBridge(vni);
    const device = vxlanDevice(vni);
    const oldBridge = byName.get(bridge);
    if (!oldBridge) {
      lines.push(['link', 'add', 'name', bridge, 'mtu', mtu, 'type', 'bridge', 'stp_state', 0, 'forward_delay', 0, 'mcast_snooping', 0]);
      // Without an address of its own the host cannot be reached from inside the network.
      lines.push(['link', 'set', 'dev', bridge, 'addrgenmode', 'none']);
    }
    const old = byName.get(device);
    const fits = old?.vxlan?.vni === vni && old.vxlan.local === tunnelAddress && old.vxlan.port === PORT && !old.vxlan.learning;
    if (old && !fits) lines.push(['link', 'delete', 'dev', device]);
    if (!old || !fits) {
      lines.push([
        ...['link', 'add', 'name', device, 'mtu', mtu, 'type', 'vxlan'],
        ...['id', vni, 'local', tunnelAddress, 'dstport', PORT, 'nolearning'],
      ]);
      lines.push(['link', 'set', 'dev', device, 'addrgenmode', 'none']);
    } else if (old.mtu !== mtu) lines.push(['link', 'set', 'dev', device, 'mtu', mtu]);
    if (!fits || old?.master !== bridge || !old.up) lines.push(['link', 'set', 'dev', device, 'master', bridge, 'up']);
    if (oldBridge && oldBridge.mtu !== mtu) lines.push(['link', 'set', 'dev', bridge, 'mtu', mtu]);
    if (!oldBridge?.up) lines.push(['link', 'set', 'dev', bridge, 'up']);
  }
  const wanted = new Set(networks.map(({ vni }) => vni));
  for (const { name } of seen) {
    const vni = vniOf(name);
    if (vni === null || wanted.has(vni)) continue;
    const bridge = vxlanBridge(vni);
    if (seen.some(({ name: port, master }) => master === bridge && port !== vxlanDevice(vni))) continue;
    lines.push(['link', 'delete', 'dev', name]);
  }
  return lines;
}

/** The number in one of our own device names, bridge or VXLAN. */
function vniOf(name: string): number | null {
  const digits = /^(?:brvx-|vxlan)([1-9]\d{0,7})$/.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** What to do to the forwarding entries of the wanted networks' devices. */
export function compileForwarding({ networks }: HostNetworks, seen: readonly ForwardingEntry[]): BatchLine[] {
  const byDevice = new Map<string, ForwardingEntry[]>();
  for (const entry of seen) byDevice.set(entry.device, [...(byDevice.get(entry.device) ?? []), entry]);
  const gone: BatchLine[] = [];
  const come: BatchLine[] = [];
  for (const { vni, peers } of networks) {
    const device = vxlanDevice(vni);
    const floods = new Set(peers.map(({ address }) => address));
    const exact = new Map(peers.flatMap(({ address, macs }) => macs.map((mac): [string, string] => [mac, address])));
    for (const { mac, destination } of byDevice.get(device) ?? []) {
      if (mac === EVERYBODY) {
        if (!floods.delete(destination)) gone.push(['fdb', 'del', mac, 'dev', device, 'dst', destination, 'self']);
      } else if (exact.get(mac) === destination) exact.delete(mac);
      // An address that moved is replaced below, without a moment in which it is nowhere.
      else if (!exact.has(mac)) gone.push(['fdb', 'del', mac, 'dev', device, 'dst', destination, 'self']);
    }
    for (const address of floods) come.push(['fdb', 'append', EVERYBODY, 'dev', device, 'dst', address, 'self', 'permanent']);
    for (const [mac, address] of exact) come.push(['fdb', 'replace', mac, 'dev', device, 'dst', address, 'self', 'permanent']);
  }
  return [...gone, ...come];
}

export function guestNetworks({ stateDirectory, log }: { stateDirectory: string; log: Log }): GuestNetworks {
  const kept = stateFile(join(stateDirectory, 'networks.json'), s.object({ applied: HostNetworks }));
  const inTurn = turns();
  let current: HostNetworks | null = null;

  const makeSo = async (wanted: HostNetworks): Promise<void> => {
    const vnis = wanted.networks.map(({ vni }) => vni);
    if (new Set(vnis).size < vnis.length) throw new CloudError('InvalidParameter', 'a guest network is listed twice');
    await changeLinks('set up the guest networks', compileLinks(wanted, await readLinks()));
    await changeForwarding(compileForwarding(wanted, await readForwarding()));
    const missing = [...compileLinks(wanted, await readLinks()), ...compileForwarding(wanted, await readForwarding())];
    if (missing.length > 0) {
      throw new CloudError('ResourceUnavailable', 'the host could not set up the guest networks', { missing: missing.slice(0, 20) });
    }
  };

  return {
    apply: (wanted) =>
      inTurn.take('networks', async () => {
        if (current && wanted.generation < current.generation) return current.generation;
        await makeSo(wanted);
        current = wanted;
        await kept.write({ applied: wanted });
        return wanted.generation;
      }),
    restore: () =>
      inTurn.take('networks', async () => {
        current = (await kept.read())?.applied ?? null;
        if (current) await makeSo(current).catch((err: unknown) => log.error({ err }, 'the guest networks could not be set up again'));
      }),
    sweep: () =>
      inTurn.take('networks', async () => {
        if (!current) return;
        const wanted = new Set(current.networks.map(({ vni }) => vni));
        const seen = await readLinks();
        if (!seen.some(({ name }) => !wanted.has(vniOf(name) ?? Number.NaN) && vniOf(name) !== null)) return;
        await changeLinks('take guest networks away', compileLinks(current, seen));
      }),
    carries: (vni) => current?.networks.some((network) => network.vni === vni) ?? false,
  };
}
