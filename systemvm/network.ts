/** A system VM's own addresses, routes and names, set in one run of `ip`: starting a program is what takes long in an emulated machine. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { CloudError } from '../protocol/errors.ts';
import { cidrRange } from '../protocol/ip4.ts';
import type { BootArguments } from './bootargs.ts';
import { runCommand } from './commands.ts';
import { writeFileIfChanged } from './files.ts';
import type { Machine } from './machine.ts';

const NIC_WAIT_SECONDS = 20;

/** The kernel's names of the NICs that are there, by MAC. */
export type PresentNics = ReadonlyMap<string, string>;

/** Lines for `ip -batch`. NICs are told apart by their MAC, for the kernel may find them in any order. */
export function compileNetwork(bootArguments: BootArguments, present: PresentNics): string {
  const { nics, defaultRoute, managementCidrs, localGateway } = bootArguments;
  const lines = ['link set dev lo up'];
  const renames = nics.flatMap((nic) => {
    const current = present.get(nic.mac);
    if (current === undefined) throw new CloudError('InvalidParameter', `no NIC has the MAC ${nic.mac} of ${nic.device}`);
    return current === nic.device ? [] : [{ current, wanted: nic.device }];
  });
  // Two NICs may have to swap names, so each goes through a name that nothing else has.
  for (const { current, wanted } of renames) lines.push(`link set dev ${current} down`, `link set dev ${current} name nephos-${wanted}`);
  for (const { wanted } of renames) lines.push(`link set dev nephos-${wanted} name ${wanted}`);
  for (const { device, address, prefix, mtu } of nics) {
    if (mtu !== null) lines.push(`link set dev ${device} mtu ${mtu}`);
    if (address !== null) lines.push(`addr replace ${address}/${prefix} broadcast + dev ${device}`);
    lines.push(`link set dev ${device} up`);
  }
  const management = nics.find(({ role }) => role === 'management');
  const onLink = nics.flatMap(({ address, prefix }) => (address === null ? [] : [cidrRange(`${address}/${prefix}`)]));
  // What a NIC is on itself must not be routed: the route would take the place of the kernel's own, and neighbours would be reached by way of the gateway.
  const isOnLink = (cidr: string): boolean => {
    const { first, last } = cidrRange(cidr);
    return onLink.some((link) => first >= link.first && last <= link.last);
  };
  if (management !== undefined && localGateway !== null)
    for (const cidr of managementCidrs.filter((each) => !isOnLink(each)))
      lines.push(`route replace ${cidr} via ${localGateway} dev ${management.device}`);
  if (defaultRoute !== null) lines.push(`route replace default via ${defaultRoute.gateway} dev ${defaultRoute.device}`);
  return `${lines.join('\n')}\n`;
}

export function compileResolvConf({ dnsServers, internalDnsServers, domain }: BootArguments): string {
  const lines = domain === null ? [] : [`search ${domain}`];
  for (const server of new Set([...internalDnsServers, ...dnsServers])) lines.push(`nameserver ${server}`);
  return `${lines.join('\n')}\n`;
}

function presentNics(netFolder: string): PresentNics {
  const nics = new Map<string, string>();
  for (const device of readdirSync(netFolder)) {
    if (device === 'lo') continue;
    try {
      const mac = readFileSync(`${netFolder}/${device}/address`, 'utf8').trim();
      if (mac !== '') nics.set(mac, device);
    } catch {
      // It has just gone, or is none.
    }
  }
  return nics;
}

/** Waits for the drivers: a NIC can appear a moment after the first program has started. */
async function awaitNics(bootArguments: BootArguments, netFolder: string): Promise<PresentNics> {
  const deadline = Date.now() + NIC_WAIT_SECONDS * 1000;
  for (;;) {
    const present = presentNics(netFolder);
    if (bootArguments.nics.every(({ mac }) => present.has(mac)) || Date.now() > deadline) return present;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Writes one kernel setting such as `net/ipv4/ip_forward`; says whether this kernel has it. */
export function setSysctl({ sysctlFolder }: Machine, name: string, value: string): boolean {
  try {
    writeFileSync(`${sysctlFolder}/${name}`, value);
    return true;
  } catch {
    return false;
  }
}

export async function applyNetwork(bootArguments: BootArguments, machine: Machine): Promise<void> {
  const present = await awaitNics(bootArguments, machine.netFolder);
  // The cloud's networks are IPv4; an IPv6 address that a NIC gave itself would be a way around the rules.
  for (const scope of ['all', 'default']) setSysctl(machine, `net/ipv6/conf/${scope}/disable_ipv6`, '1');
  // The neighbours of a rebuilt machine still know its predecessor's MAC; this makes the kernel announce each address as its NIC comes up.
  setSysctl(machine, 'net/ipv4/conf/all/arp_notify', '1');
  await runCommand('ip', ['-batch', '-'], { input: compileNetwork(bootArguments, present) });
  await Promise.all([
    writeFileIfChanged(machine.resolvConfFile, compileResolvConf(bootArguments)),
    writeFileIfChanged(machine.hostsFile, `127.0.0.1 localhost\n127.0.1.1 ${bootArguments.name}\n`),
  ]);
  if (machine.setHostName) setSysctl(machine, 'kernel/hostname', bootArguments.name);
}
