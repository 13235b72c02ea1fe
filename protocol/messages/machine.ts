import { message } from '../message.ts';
import { type Infer, s } from '../schema.ts';

/** Name of a machine on its host: i-2-10-VM, v-1-VM, s-2-VM, r-4-VM. */
const instanceName = s.string({ max: 63, match: /^[a-z]+-[A-Za-z0-9-]+$/ });
/** A file the agent keeps for direct kernel boot or as a payload ISO: kernel-<hash>, initrd-<hash>, systemvm-<hash>.iso. */
export const bootFileName = s.string({ max: 120, match: /^[a-z0-9][a-z0-9.-]*$/ });

export const NicSpec = s.object({
  nicId: s.id('nic'),
  /** Position in the guest: 0 is eth0. */
  device: s.int({ max: 31 }),
  mac: s.mac(),
  mtu: s.int({ min: 576, max: 9216 }),
  /** Where the host plugs it: the link-local control bridge, a bridge of the host by name, or a guest network's VXLAN bridge. */
  attachment: s.union(
    s.object({ kind: s.literal('control') }),
    s.object({ kind: s.literal('bridge'), bridge: s.string({ min: 1, max: 15, match: /^[A-Za-z0-9_.-]+$/ }) }),
    s.object({ kind: s.literal('vxlan'), vni: s.int({ min: 1, max: 16_777_215 }) }),
  ),
  /** IPv4 addresses this NIC may send from; anything else is dropped at the tap. Null: no check (system VMs' own NICs). */
  addresses: s.nullable(s.list(s.ip4(), { max: 64 })),
  model: s.oneOf('virtio', 'e1000'),
});
export type NicSpec = Infer<typeof NicSpec>;

export const DiskSpec = s.object({
  volumeId: s.id('volume'),
  poolId: s.id('storagePool'),
  /** Position in the guest: 0 is vda. */
  device: s.int({ max: 63 }),
  bus: s.oneOf('virtio', 'scsi', 'sata', 'ide'),
});
export const IsoSpec = s.object({ imageId: s.id('template'), poolId: s.id('storagePool') });

export const MachineSpec = s.object({
  id: s.id('machine'),
  name: instanceName,
  kind: s.oneOf('guest', 'console-proxy', 'secondary-storage', 'router'),
  cpuCount: s.int({ min: 1, max: 256 }),
  /** Weight of one CPU against other machines' on the host, in MHz. */
  cpuMhz: s.int({ min: 1, max: 100_000 }),
  memoryMib: s.int({ min: 32, max: 4_194_304 }),
  boot: s.union(
    s.object({ kind: s.literal('disk') }),
    s.object({ kind: s.literal('cdrom') }),
    s.object({
      kind: s.literal('direct'),
      kernel: bootFileName,
      initrd: bootFileName,
      /** The kernel command line, at most what x86 takes. */
      arguments: s.string({ min: 1, max: 2040, match: /^[\x20-\x7e]+$/ }),
      /** Payload ISO as the second virtio disk. */
      payload: bootFileName,
    }),
  ),
  disks: s.list(DiskSpec, { max: 64 }),
  iso: s.nullable(IsoSpec),
  nics: s.list(NicSpec, { max: 32 }),
  /** VNC listens on the host's management address; the password is new at every start, 8 characters (RFB's limit). */
  vncPassword: s.string({ min: 8, max: 8, match: /^[A-Za-z0-9]+$/ }),
  /** Keyboard layout for VNC, such as en-us. */
  keyboard: s.string({ min: 2, max: 10, match: /^[a-z]{2}(-[a-z]{2})?$/ }),
});
export type MachineSpec = Infer<typeof MachineSpec>;

const power = s.oneOf('On', 'Off');

export const StartMachine = message({
  name: 'machine.start',
  ask: s.object({ spec: MachineSpec }),
  answer: s.object({ power, vncPort: s.int({ min: 1, max: 65_535 }) }),
  patience: 'normal',
});
export const StopMachine = message({
  name: 'machine.stop',
  /** `force` pulls the plug; otherwise the power button, and the plug after `graceSeconds`. Absent machine: Off. */
  ask: s.object({ id: s.id('machine'), force: s.boolean(), graceSeconds: s.int({ max: 100 }) }),
  answer: s.object({ power }),
  patience: 'normal',
});
export const RebootMachine = message({
  name: 'machine.reboot',
  ask: s.object({ id: s.id('machine'), force: s.boolean() }),
  answer: s.object({ power }),
  patience: 'normal',
});
export const ListMachines = message({
  name: 'machine.list',
  ask: s.object({}),
  answer: s.object({ machines: s.list(s.object({ id: s.id('machine'), name: instanceName, power })) }),
  patience: 'fast',
});
export const ChangeIso = message({
  name: 'machine.changeIso',
  ask: s.object({ id: s.id('machine'), iso: s.nullable(IsoSpec) }),
  answer: s.object({}),
  patience: 'normal',
});
/** Machines that do not run here and of which the host still keeps something, such as what they said on their serial consoles. */
export const ListRemains = message({
  name: 'machine.listRemains',
  ask: s.object({}),
  answer: s.object({ ids: s.list(s.id('machine'), { max: 100_000 }) }),
  patience: 'fast',
});
/** Removes what the host keeps of machines that are gone for good. One that runs is left alone. */
export const ForgetMachines = message({
  name: 'machine.forget',
  ask: s.object({ ids: s.list(s.id('machine'), { max: 1000 }) }),
  answer: s.object({}),
  patience: 'normal',
});
/** The tail of the machine's serial console log, at most 64 KiB. */
export const ReadSerialLog = message({
  name: 'machine.serialLog',
  ask: s.object({ id: s.id('machine') }),
  answer: s.object({ text: s.text({ max: 65_536 }) }),
  patience: 'fast',
});
