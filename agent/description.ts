/** What this host is and can do. Abilities are tried, never looked up. */
import { randomBytes, randomUUID } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { arch, cpus, hostname, release, totalmem } from 'node:os';
import type { HostDescription } from '../protocol/messages/host.ts';
import type { Accelerator } from './hypervisors/libvirt/kvm-probe.ts';
import { element, renderXml } from './hypervisors/libvirt/xml.ts';
import { readLinks } from './networking/links.ts';
import { controlBridge } from './networking/names.ts';
import { nftFile } from './networking/nft.ts';
import { attempt } from './processes.ts';
import { kernelHasNfs } from './storage/network-filesystem/index.ts';
import { version } from './version.ts';

export interface DescriptionSources {
  readonly accelerator: Accelerator;
  readonly libvirt: { libvirt: string; qemu: string };
  readonly cpuShares: boolean;
}

export async function describeHost({ accelerator, libvirt, cpuShares }: DescriptionSources): Promise<HostDescription> {
  const processors = cpus();
  const first = processors[0];
  const osRelease = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return {
    hostName: hostname().slice(0, 253),
    accelerator: accelerator.accelerator,
    acceleratorReason: accelerator.reason,
    architecture: arch() === 'x64' ? 'x86_64' : arch(),
    cpuCount: Math.max(1, processors.length),
    // Some kernels tell no frequency; a round figure keeps the host usable.
    cpuMhz: Math.min(100_000, Math.max(first?.speed ?? 0, 0) || 2000),
    cpuModel: (first?.model ?? 'unknown').trim().slice(0, 200),
    memoryMib: Math.floor(totalmem() / 1024 ** 2),
    operatingSystem: (/^PRETTY_NAME="?([^"\n]*)/m.exec(osRelease)?.[1] ?? 'Linux').slice(0, 200),
    kernel: release().slice(0, 100),
    libvirtVersion: libvirt.libvirt.slice(0, 30),
    qemuVersion: libvirt.qemu.slice(0, 60),
    agentVersion: version,
    features: { ...(await tryFeatures()), cpuShares },
    bridges: (await readLinks())
      .filter(({ name, kind }) => kind === 'bridge' && name !== controlBridge && !/^brvx-\d+$/.test(name))
      .map(({ name }) => name)
      .slice(0, 256),
  };
}

/** Makes a device of each kind and takes it away again; loads a table of rules without keeping it. */
export async function tryFeatures(): Promise<Record<string, boolean>> {
  const suffix = randomBytes(4).toString('hex');
  const device = `np${suffix}`;
  const makes = async (...words: string[]): Promise<boolean> => {
    const made = (await attempt('ip', ['link', 'add', ...words], { timeoutSeconds: 10 })).code === 0;
    if (made) await attempt('ip', ['link', 'delete', 'dev', device], { timeoutSeconds: 10 });
    return made;
  };
  const isolates = async (): Promise<boolean> => {
    const bridge = `nb${suffix}`;
    try {
      if ((await attempt('ip', ['link', 'add', 'name', bridge, 'type', 'bridge'])).code !== 0) return false;
      if ((await attempt('ip', ['link', 'add', 'name', device, 'type', 'veth', 'peer', 'name', `nq${suffix}`])).code !== 0) return false;
      if ((await attempt('ip', ['link', 'set', 'dev', device, 'master', bridge])).code !== 0) return false;
      return (await attempt('bridge', ['link', 'set', 'dev', device, 'isolated', 'on'])).code === 0;
    } finally {
      await attempt('ip', ['link', 'delete', 'dev', device]);
      await attempt('ip', ['link', 'delete', 'dev', bridge]);
    }
  };
  const loads = async (family: 'bridge' | 'inet'): Promise<boolean> => {
    const rules = `table ${family} ${device} { chain c { type filter hook input priority 0; policy accept; }; }\n`;
    return (await nftFile(rules, ['--check'])).code === 0;
  };
  const has = (path: string): Promise<boolean> =>
    access(path).then(
      () => true,
      () => false,
    );
  // A VLAN needs something to stand on that is certainly there.
  const vlan = await makes('link', 'lo', 'name', device, 'type', 'vlan', 'id', '4000');
  const vxlan = await makes('name', device, 'type', 'vxlan', 'id', '16777215', 'local', '127.0.0.1', 'dstport', '4799', 'nolearning');
  const macvlan = await makes('link', 'lo', 'name', device, 'type', 'macvlan');
  return {
    vlan,
    vxlan,
    macvlan,
    bridgePortIsolation: await isolates(),
    nftablesBridge: await loads('bridge'),
    nftables: await loads('inet'),
    nfs: (await kernelHasNfs()) && ((await has('/sbin/mount.nfs')) || (await has('/usr/sbin/mount.nfs'))),
    tun: await has('/dev/net/tun'),
    vhostNet: await has('/dev/vhost-net'),
  };
}

/**
 * Whether libvirt may weigh machines against each other here: the smallest machine is made with a weight, not let run, and taken away by
 * libvirt itself as its maker leaves.
 */
export async function tryCpuShares(create: (xml: string) => Promise<boolean>): Promise<boolean> {
  return create(
    renderXml(
      element(
        'domain',
        { type: 'qemu' },
        element('name', {}, `nephos-probe-${randomBytes(4).toString('hex')}`),
        element('uuid', {}, randomUUID()),
        element('memory', { unit: 'MiB' }, '16'),
        element('vcpu', {}, '1'),
        element('cputune', {}, element('shares', {}, '512')),
        element('os', {}, element('type', { arch: 'x86_64', machine: 'pc' }, 'hvm')),
        element('devices', {}, element('controller', { type: 'usb', model: 'none' }), element('memballoon', { model: 'none' })),
      ),
    ),
  );
}
