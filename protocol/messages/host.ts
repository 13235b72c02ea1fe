import { message } from '../message.ts';
import { type Infer, s } from '../schema.ts';
import { bootFileName } from './machine.ts';

export const HostDescription = s.object({
  hostName: s.string({ max: 253 }),
  /** `kvm` when a probe really booted something with it, else `qemu` (emulation), else `simulated`. */
  accelerator: s.oneOf('kvm', 'qemu', 'simulated'),
  /** Why not kvm, in a sentence; empty when it is. */
  acceleratorReason: s.string({ max: 500 }),
  architecture: s.string({ max: 20 }),
  cpuCount: s.int({ min: 1, max: 4096 }),
  cpuMhz: s.int({ min: 1, max: 100_000 }),
  cpuModel: s.string({ max: 200 }),
  memoryMib: s.int({ min: 1 }),
  operatingSystem: s.string({ max: 200 }),
  kernel: s.string({ max: 100 }),
  libvirtVersion: s.string({ max: 30 }),
  qemuVersion: s.string({ max: 60 }),
  agentVersion: s.string({ max: 60 }),
  /** Kernel and tool abilities that were tried, such as vxlan: true, vlan: false, nfs: false. */
  features: s.record(s.boolean(), { max: 100 }),
  bridges: s.list(s.string({ max: 15 }), { max: 256 }),
});
export type HostDescription = Infer<typeof HostDescription>;
export const DescribeHost = message({ name: 'host.describe', ask: s.object({}), answer: HostDescription, patience: 'normal' });

/** All guest networks a host should carry now, whole, with forwarding entries kept by management. Older generations are ignored. */
export const HostNetworks = s.object({
  generation: s.int(),
  /** The address of this host that VXLAN packets come from. */
  tunnelAddress: s.ip4(),
  networks: s.list(
    s.object({
      vni: s.int({ min: 1, max: 16_777_215 }),
      mtu: s.int({ min: 576, max: 9216 }),
      /** Other hosts that carry this network, with the MACs of the machines there. */
      peers: s.list(s.object({ address: s.ip4(), macs: s.list(s.mac(), { max: 10_000 }) }), { max: 5000 }),
    }),
    { max: 4000 },
  ),
});
export type HostNetworks = Infer<typeof HostNetworks>;
export const ApplyHostNetworks = message({
  name: 'host.applyNetworks',
  ask: HostNetworks,
  answer: s.object({ generation: s.int() }),
  patience: 'normal',
});

/** The control network and the relay of routers' links, sent once per link. */
export const ConfigureHost = message({
  name: 'host.configure',
  ask: s.object({
    /** The host's own control address with prefix length, such as 169.254.0.1/16. */
    controlAddress: s.string({ max: 18, match: /^[0-9.]+\/\d+$/ }),
    /** Where the relay on the control address sends TCP 8250: host:port, tried in order. */
    relayTargets: s.list(s.string({ max: 260 }), { max: 16 }),
    /** Public key line of the cloud, for ssh to system VMs; kept by the agent for operators. */
    vncListenAddress: s.ip4(),
  }),
  answer: s.object({}),
  patience: 'normal',
});

/** The host is none of this cloud's any more: its agent forgets who it was and dials no more, until it is installed anew. */
export const RetireHost = message({ name: 'host.retire', ask: s.object({}), answer: s.object({}), patience: 'fast' });

/** Files for direct kernel boot, fetched over mutual TLS from a management server, kept by name, checked by hash. */
export const EnsureBootFiles = message({
  name: 'host.ensureBootFiles',
  ask: s.object({
    files: s.list(s.object({ name: bootFileName, url: s.string({ max: 2000 }), sha256: s.sha256() }), { max: 10 }),
  }),
  answer: s.object({}),
  patience: 'slow',
});
