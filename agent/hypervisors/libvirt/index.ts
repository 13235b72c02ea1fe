/** A real host: libvirt and QEMU for machines, Linux bridges, VXLAN and nftables for their networks, qcow2 files for their disks. */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../../../protocol/errors.ts';
import { splitAddress } from '../../../protocol/link/address.ts';
import type { LinkIdentity } from '../../../protocol/link/identity.ts';
import type { Log } from '../../../protocol/log.ts';
import { ConfigureHost } from '../../../protocol/messages/host.ts';
import type { MachineSpec } from '../../../protocol/messages/machine.ts';
import { bootFiles } from '../../boot-files.ts';
import type { AgentConfig } from '../../config.ts';
import { describeHost, tryCpuShares } from '../../description.ts';
import { fetchFrom } from '../../fetch.ts';
import { stateFile } from '../../files.ts';
import { antiSpoofing } from '../../networking/anti-spoofing.ts';
import { ensureControlBridge } from '../../networking/control.ts';
import { readLinks } from '../../networking/links.ts';
import { bridgeOf } from '../../networking/names.ts';
import { guestNetworks } from '../../networking/vxlan.ts';
import { openRelay, type Relay } from '../../relay.ts';
import { localPools } from '../../storage/pools.ts';
import { remembered, turns } from '../../turns.ts';
import type { Host, HostConfiguration } from '../hypervisor.ts';
import { type EventStream, watchDomains } from './events.ts';
import { findAccelerator, fixKvmDevice } from './kvm-probe.ts';
import { libvirtMachines } from './machines.ts';
import { qemuAccount } from './qemu-account.ts';
import { serialLogs } from './serial-logs.ts';
import { virsh as virshIn } from './virsh.ts';

export interface LibvirtHostOptions {
  readonly config: Pick<AgentConfig, 'id' | 'stateDirectory' | 'bridges'>;
  readonly identity: () => LinkIdentity | null;
  readonly log: Log;
}

const RELAY_PORT = 8250;
const TIDY_MILLISECONDS = 60_000;

export async function libvirtHost({ config, identity, log }: LibvirtHostOptions): Promise<Host> {
  const { id: hostId, stateDirectory } = config;
  await mkdir(stateDirectory, { recursive: true, mode: 0o711 });
  // QEMU's account opens kernels and mounted pools below this directory; what is private in it lies in directories of its own.
  await chmod(stateDirectory, 0o711);
  const documents = join(stateDirectory, 'documents');
  // Documents hold passwords; a crash may have left one.
  await rm(documents, { recursive: true, force: true });
  const account = await qemuAccount();
  const qemuOwner = account ? `+${account.uid}:+${account.gid}` : null;

  const virsh = virshIn(documents);
  const guard = antiSpoofing();
  const networks = guestNetworks({ stateDirectory, log });
  const fetch = fetchFrom(identity);
  const boot = bootFiles(join(stateDirectory, 'boot'), fetch);
  const serial = serialLogs(join(stateDirectory, 'serial'));
  const configurationFile = stateFile(join(stateDirectory, 'configuration.json'), ConfigureHost.ask);
  const inTurn = turns();

  let configuration: HostConfiguration | null = null;
  let relay: Relay | null = null;
  let relayAddress = '';
  let events: EventStream | null = null;
  let changed: () => void = () => {};

  const pools = localPools({
    hostId,
    stateDirectory,
    fetch,
    owner: account,
    inUse: {
      pool: async (poolId) =>
        [...(await machines.records()).values()].some(
          ({ disks, isoPoolId }) => isoPoolId === poolId || disks.some((disk) => disk.poolId === poolId),
        ),
      volume: async (volumeId) =>
        [...(await machines.records()).values()].some(({ disks }) => disks.some((disk) => disk.volumeId === volumeId)),
    },
    log,
  });

  // Found out once in an agent's life; a first start that comes before the first description waits for it.
  const abilities = remembered(async () => {
    await fixKvmDevice();
    return { accelerator: await findAccelerator(stateDirectory), cpuShares: await tryCpuShares(virsh.tries) };
  });

  const checkNetworks = async (spec: MachineSpec): Promise<void> => {
    const bridges = new Set((await readLinks()).filter(({ kind }) => kind === 'bridge').map(({ name }) => name));
    const allowed = Object.values(config.bridges).filter((name) => name !== null);
    for (const { attachment } of spec.nics) {
      if (attachment.kind === 'vxlan' && !networks.carries(attachment.vni)) {
        throw new CloudError('ResourceUnavailable', `the host does not carry guest network ${attachment.vni}`);
      }
      if (attachment.kind === 'bridge' && allowed.length > 0 && !allowed.includes(attachment.bridge)) {
        throw new CloudError('ResourceUnavailable', `the host does not offer its bridge ${attachment.bridge} to machines`);
      }
      const bridge = bridgeOf(attachment);
      if (!bridges.has(bridge)) throw new CloudError('ResourceUnavailable', `the host has no bridge ${bridge}`);
    }
  };

  const machines = libvirtMachines({
    virsh,
    pools,
    bootFiles: boot,
    antiSpoofing: guard,
    serialLogs: serial,
    surroundings: async () => {
      const found = await abilities();
      // Without an address from management, a console is reachable on the host alone.
      const vncListenAddress = configuration?.vncListenAddress ?? '127.0.0.1';
      return { accelerator: found.accelerator.accelerator, cpuShares: found.cpuShares, vncListenAddress, qemuOwner };
    },
    checkNetworks,
    log,
  });

  const realize = async (wanted: HostConfiguration): Promise<void> => {
    for (const target of wanted.relayTargets) splitAddress(target);
    await ensureControlBridge(wanted.controlAddress);
    const address = wanted.controlAddress.split('/')[0] ?? '';
    await guard.controlHost(address);
    configuration = wanted;
    if (relay && relayAddress !== address) {
      await relay.close();
      relay = null;
    }
    relay ??= await openRelay({ address, port: RELAY_PORT, targets: () => configuration?.relayTargets ?? [], log });
    relayAddress = address;
  };

  const look = (): void => {
    machines
      .refresh()
      .then(() => networks.sweep())
      .catch((err: unknown) => log.warn({ err }, 'the machines could not be looked at'))
      .finally(changed);
  };
  const tidy = setInterval(() => {
    void (async () => {
      await guard.check();
      await serial.sweep(await virsh.running());
      await boot.sweep();
    })().catch((err: unknown) => log.warn({ err }, 'tidying up failed'));
  }, TIDY_MILLISECONDS);
  tidy.unref();

  return {
    machines,
    pools,
    applyNetworks: networks.apply,
    configure: (wanted) =>
      inTurn.take('configuration', async () => {
        await realize(wanted);
        await configurationFile.write({ ...wanted, relayTargets: [...wanted.relayTargets] });
      }),
    ensureBootFiles: boot.ensure,
    describe: async () => {
      const found = await abilities();
      return describeHost({ accelerator: found.accelerator, libvirt: await virsh.versions(), cpuShares: found.cpuShares });
    },
    restore: async () => {
      const kept = await configurationFile.read();
      if (kept) await realize(kept).catch((err: unknown) => log.error({ err }, 'the control network could not be set up again'));
      await networks.restore();
      await machines.refresh().catch((err: unknown) => log.error({ err }, 'the running machines could not be read'));
      await pools.restore();
    },
    watch: (listener) => {
      changed = listener;
      events ??= watchDomains(look, log);
    },
    close: async () => {
      clearInterval(tidy);
      await events?.close();
      await relay?.close();
    },
  };
}
