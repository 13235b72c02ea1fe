/** A machine's libvirt document, as a pure function of what management asked for and what the host has. */
import { CloudError } from '../../../protocol/errors.ts';
import type { MachineSpec, NicSpec } from '../../../protocol/messages/machine.ts';
import { bridgeOf, tapDevice } from '../../networking/names.ts';
import { metadataXml } from './metadata.ts';
import { element, renderXml, type XmlElement } from './xml.ts';

export interface DiskFiles {
  /** The volume's own file. */
  readonly path: string;
  /** Its image, or null for a volume that stands alone. */
  readonly backingPath: string | null;
  /** `none` passes by the host's page cache; `writeback` where the file system cannot do that. Both keep the guest's flushes. */
  readonly cache: 'none' | 'writeback';
}
export interface DomainSurroundings {
  readonly accelerator: 'kvm' | 'qemu';
  readonly vncListenAddress: string;
  /** Whether libvirt may give CPU shares here. */
  readonly cpuShares: boolean;
  /** `+uid:+gid` that QEMU runs as, or null to leave it to libvirt. Files are made readable for it beforehand. */
  readonly qemuOwner: string | null;
  readonly serialLogPath: string;
  /** One for each of the machine's disks, in their order. */
  readonly disks: readonly DiskFiles[];
  /** Null when the drive is empty. */
  readonly isoPath: string | null;
  readonly boot: { readonly kernelPath: string; readonly initrdPath: string; readonly payloadPath: string } | null;
}

/** The product name by which cloud-init recognizes the CloudStack datasource. */
const PRODUCT = 'CloudStack KVM Hypervisor';
/** Two of cgroup v1's limits on cpu.shares; v2 weights are derived from them by libvirt. */
const SHARES = { min: 2, max: 262_144 };

export const cdromTarget = 'hdd';

export function domainXml(spec: MachineSpec, around: DomainSurroundings): string {
  const kvm = around.accelerator === 'kvm';
  const nics = [...spec.nics].sort((one, other) => one.device - other.device);
  return renderXml(
    element(
      'domain',
      { type: around.accelerator },
      element('name', {}, spec.name),
      element('uuid', {}, spec.id),
      element('metadata', {}, metadataXml(spec)),
      element('memory', { unit: 'MiB' }, String(spec.memoryMib)),
      element('vcpu', { placement: 'static' }, String(spec.cpuCount)),
      around.cpuShares ? element('cputune', {}, element('shares', {}, String(shares(spec)))) : null,
      element(
        'sysinfo',
        { type: 'smbios' },
        element(
          'system',
          {},
          element('entry', { name: 'manufacturer' }, 'Apache Software Foundation'),
          element('entry', { name: 'product' }, PRODUCT),
          element('entry', { name: 'uuid' }, spec.id),
        ),
      ),
      element(
        'os',
        {},
        element('type', { arch: 'x86_64', machine: 'pc' }, 'hvm'),
        ...bootElements(spec, around),
        element('smbios', { mode: 'sysinfo' }),
      ),
      element('features', {}, element('acpi'), element('apic')),
      kvm
        ? element('cpu', { mode: 'host-model', check: 'partial' })
        : element('cpu', { mode: 'custom', match: 'exact', check: 'none' }, element('model', { fallback: 'forbid' }, 'qemu64')),
      element('clock', { offset: 'utc' }),
      element('on_poweroff', {}, 'destroy'),
      element('on_reboot', {}, 'restart'),
      element('on_crash', {}, 'destroy'),
      element('devices', {}, ...devices(spec, around, nics)),
      // Files belong to QEMU's user from the start, so libvirt must not hand them around: two hosts may have the same image open.
      around.qemuOwner === null
        ? null
        : element('seclabel', { type: 'static', model: 'dac', relabel: 'no' }, element('label', {}, around.qemuOwner)),
    ),
  );
}

const shares = ({ cpuCount, cpuMhz }: MachineSpec): number => Math.min(SHARES.max, Math.max(SHARES.min, cpuCount * cpuMhz));

function bootElements(spec: MachineSpec, { boot }: DomainSurroundings): XmlElement[] {
  switch (spec.boot.kind) {
    case 'disk':
      return [element('boot', { dev: 'hd' })];
    case 'cdrom':
      return [element('boot', { dev: 'cdrom' }), element('boot', { dev: 'hd' })];
    case 'direct':
      if (!boot) throw new CloudError('Internal', 'a direct boot without its files', { name: spec.name });
      return [
        element('kernel', {}, boot.kernelPath),
        element('initrd', {}, boot.initrdPath),
        element('cmdline', {}, spec.boot.arguments),
        element('boot', { dev: 'hd' }),
      ];
  }
}

function devices(spec: MachineSpec, around: DomainSurroundings, nics: readonly NicSpec[]): XmlElement[] {
  const disks = spec.disks.map((disk, index) => {
    const files = around.disks[index];
    if (!files) throw new CloudError('Internal', 'a disk without its file', { name: spec.name });
    return { device: disk.device, bus: disk.bus, xml: diskXml(targetOf(disk), disk.bus, files) };
  });
  const targets = disks.map(({ device, bus }) => targetOf({ device, bus }));
  const payload = around.boot ? [payloadXml(around.boot.payloadPath)] : [];
  if (around.boot) targets.push('vdb');
  const hasDrive = spec.kind === 'guest' || around.isoPath !== null;
  if (hasDrive) targets.push(cdromTarget);
  if (new Set(targets).size < targets.length) {
    throw new CloudError('InvalidParameter', `two disks of ${spec.name} are to be at the same place`);
  }
  return [
    ...disks.sort((one, other) => one.device - other.device).map(({ xml }) => xml),
    ...payload,
    ...(hasDrive ? [cdromXml(around.isoPath)] : []),
    ...(spec.disks.some(({ bus }) => bus === 'scsi') ? [element('controller', { type: 'scsi', model: 'virtio-scsi' })] : []),
    ...nics.map(nicXml),
    element(
      'serial',
      { type: 'pty' },
      element('log', { file: around.serialLogPath, append: 'on' }),
      element('target', { type: 'isa-serial', port: 0 }),
    ),
    element('input', { type: 'tablet', bus: 'usb' }),
    graphicsXml(spec, around.vncListenAddress),
    element('video', {}, element('model', { type: 'vga', vram: 16_384 })),
    element('memballoon', { model: 'virtio', autodeflate: 'on' }, element('stats', { period: 30 })),
    element('rng', { model: 'virtio' }, element('backend', { model: 'random' }, '/dev/urandom')),
  ];
}

export function targetOf({ device, bus }: { device: number; bus: MachineSpec['disks'][number]['bus'] }): string {
  const letters = (index: number): string =>
    index < 26 ? String.fromCharCode(97 + index) : letters(Math.floor(index / 26) - 1) + letters(index % 26);
  const prefix = { virtio: 'vd', scsi: 'sd', sata: 'sd', ide: 'hd' }[bus];
  // An IDE controller pair has four places; the last is the CD-ROM drive's.
  if (bus === 'ide' && device > 2) throw new CloudError('InvalidParameter', 'a machine has room for three IDE disks');
  return `${prefix}${letters(device)}`;
}

/** The format of every layer is written down, so neither libvirt nor QEMU ever guesses one from what a guest wrote. */
function diskXml(target: string, bus: string, { path, backingPath, cache }: DiskFiles): XmlElement {
  return element(
    'disk',
    { type: 'file', device: 'disk' },
    element('driver', { name: 'qemu', type: 'qcow2', cache, discard: 'unmap' }),
    element('source', { file: path }),
    backingPath === null
      ? element('backingStore')
      : element(
          'backingStore',
          { type: 'file' },
          element('format', { type: 'qcow2' }),
          element('source', { file: backingPath }),
          element('backingStore'),
        ),
    element('target', { dev: target, bus }),
  );
}

const payloadXml = (path: string): XmlElement =>
  element(
    'disk',
    { type: 'file', device: 'disk' },
    element('driver', { name: 'qemu', type: 'raw' }),
    element('source', { file: path }),
    element('backingStore'),
    element('target', { dev: 'vdb', bus: 'virtio' }),
    element('readonly'),
  );

/** The drive with or without a medium; also what `update-device` takes to change it. */
export const cdromXml = (isoPath: string | null): XmlElement =>
  element(
    'disk',
    { type: 'file', device: 'cdrom' },
    element('driver', { name: 'qemu', type: 'raw' }),
    isoPath === null ? null : element('source', { file: isoPath }),
    element('backingStore'),
    element('target', { dev: cdromTarget, bus: 'ide' }),
    element('readonly'),
  );

const nicXml = ({ nicId, mac, mtu, attachment, model }: NicSpec): XmlElement =>
  element(
    'interface',
    { type: 'bridge' },
    element('mac', { address: mac }),
    element('source', { bridge: bridgeOf(attachment) }),
    element('target', { dev: tapDevice(nicId) }),
    element('model', { type: model }),
    element('mtu', { size: mtu }),
  );

export const graphicsXml = (
  { vncPassword, keyboard }: Pick<MachineSpec, 'vncPassword' | 'keyboard'>,
  address: string,
  port = -1,
): XmlElement =>
  element(
    'graphics',
    {
      type: 'vnc',
      port,
      autoport: 'yes',
      listen: address,
      keymap: keyboard,
      passwd: vncPassword,
    },
    element('listen', { type: 'address', address }),
  );
