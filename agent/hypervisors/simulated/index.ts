/**
 * A host that exists in memory only: no child processes, no timers, no files, so that one process can hold thousands. It keeps the
 * messages' promises in full, so management cannot tell it from a real one but by its accelerator.
 */
import { CloudError } from '../../../protocol/errors.ts';
import type { Log } from '../../../protocol/log.ts';
import type { Handler } from '../../../protocol/message.ts';
import type { Beat } from '../../../protocol/messages/beat.ts';
import type { HostNetworks } from '../../../protocol/messages/host.ts';
import type { MachineSpec } from '../../../protocol/messages/machine.ts';
import type { PoolSpec } from '../../../protocol/messages/storage.ts';
import type { Id } from '../../../protocol/schema.ts';
import { powerReport } from '../../beat.ts';
import { hostHandlers, logged } from '../../handlers.ts';
import { version } from '../../version.ts';
import type { Host, HostConfiguration, ImageRequest, Iso, Usage, VolumeRequest } from '../hypervisor.ts';

/** The files of one pool. Hosts that are given the same store share it, as they would share a mount point. */
export interface SimulatedStore {
  readonly images: Map<Id<'template'>, { sizeBytes: number; virtualSizeBytes: number; sha256: string }>;
  readonly volumes: Map<Id<'volume'>, { sizeBytes: number; imageId: Id<'template'> | null }>;
}
/** Pools by id; give the same one to all hosts of a cluster. */
export type SimulatedStorage = Map<Id<'storagePool'>, SimulatedStore>;

export interface SimulatedHostOptions {
  readonly id: Id<'host'>;
  readonly cpuCount: number;
  readonly memoryMib: number;
  readonly cpuMhz?: number;
  readonly hostName?: string;
  readonly poolBytes?: number;
  readonly imageBytes?: number;
  readonly storage?: SimulatedStorage;
  readonly bridges?: readonly string[];
  readonly log?: Log;
  /** How long a message takes here. */
  readonly latencyMilliseconds?: (messageName: string) => number;
  /** An error makes the message fail before anything is done; null lets it pass. */
  readonly failure?: (messageName: string, ask: unknown) => CloudError | null;
  /** Called when a machine really went on or off, for those who simulate what runs inside. */
  readonly onPower?: (spec: MachineSpec, power: 'On' | 'Off') => void;
  /** What a running machine has said on its serial console. */
  readonly serialLog?: (spec: MachineSpec) => string;
}

export interface SimulatedHost extends Host {
  readonly id: Id<'host'>;
  readonly handlers: readonly Handler[];
  beat(): Promise<Beat>;
  /** To be called when the link came up, as a real agent does. */
  linkUp(): void;
  /** The guest shut itself down, or its process died. */
  powerOff(id: Id<'machine'>): void;
  specOf(id: Id<'machine'>): MachineSpec | null;
  /** What is in the drive of a machine that runs here. */
  isoOf(id: Id<'machine'>): Iso | null;
  networks(): HostNetworks | null;
  configuration(): HostConfiguration | null;
}

export function simulatedHost(options: SimulatedHostOptions): SimulatedHost {
  const { id, cpuCount, memoryMib, poolBytes = 1024 ** 4, imageBytes = 1024 ** 3, storage = new Map() } = options;
  const machines = new Map<Id<'machine'>, { spec: MachineSpec; vncPort: number; iso: Iso | null }>();
  const pools = new Map<Id<'storagePool'>, PoolSpec>();
  const bootFiles = new Set<string>();
  /** What machines have said here stays when they stop. */
  const spoken = new Set<Id<'machine'>>();
  let networks: HostNetworks | null = null;
  let configuration: HostConfiguration | null = null;
  let changed: () => void = () => {};

  const store = (poolId: Id<'storagePool'>): SimulatedStore => {
    const found = pools.has(poolId) ? storage.get(poolId) : undefined;
    if (!found) throw new CloudError('NotFound', 'the host does not have this storage pool', { poolId });
    return found;
  };
  const usage = (poolId: Id<'storagePool'>): Usage => {
    const { images, volumes } = store(poolId);
    let usedBytes = 0;
    for (const { sizeBytes } of images.values()) usedBytes += sizeBytes;
    // An overlay is nearly empty when it is new; a tenth is what it grows to in practice.
    for (const { sizeBytes } of volumes.values()) usedBytes += Math.ceil(sizeBytes / 10);
    return { totalBytes: poolBytes, usedBytes };
  };
  const freeVncPort = (): number => {
    const taken = new Set([...machines.values()].map(({ vncPort }) => vncPort));
    let port = 5900;
    while (taken.has(port)) port += 1;
    return port;
  };
  const check = (spec: MachineSpec): void => {
    for (const disk of spec.disks) {
      if (!store(disk.poolId).volumes.has(disk.volumeId)) throw new CloudError('NotFound', 'the pool does not have this volume', { disk });
    }
    if (spec.iso && !store(spec.iso.poolId).images.has(spec.iso.imageId))
      throw new CloudError('NotFound', 'the pool does not have this ISO');
    if (spec.boot.kind === 'direct') {
      for (const name of [spec.boot.kernel, spec.boot.initrd, spec.boot.payload]) {
        if (!bootFiles.has(name)) throw new CloudError('NotFound', 'the host does not have this boot file', { name });
      }
    }
    for (const { attachment } of spec.nics) {
      if (attachment.kind === 'vxlan' && !networks?.networks.some(({ vni }) => vni === attachment.vni)) {
        throw new CloudError('ResourceUnavailable', `the host does not carry guest network ${attachment.vni}`);
      }
    }
    for (const other of machines.values()) {
      if (other.spec.name === spec.name) throw new CloudError('Conflict', `another machine is named ${spec.name}`);
    }
    const usedMib = [...machines.values()].reduce((sum, { spec: { memoryMib: mib } }) => sum + mib, 0);
    if (usedMib + spec.memoryMib > memoryMib) throw new CloudError('InsufficientCapacity', 'the host has not enough memory left');
  };

  const host: Host = {
    machines: {
      start: async (spec) => {
        const running = machines.get(spec.id);
        if (running) return { power: 'On', vncPort: running.vncPort };
        check(spec);
        const vncPort = freeVncPort();
        machines.set(spec.id, { spec, vncPort, iso: spec.iso });
        spoken.add(spec.id);
        options.onPower?.(spec, 'On');
        return { power: 'On', vncPort };
      },
      stop: async (machineId) => {
        const running = machines.get(machineId);
        machines.delete(machineId);
        if (running) options.onPower?.(running.spec, 'Off');
        return 'Off';
      },
      reboot: async (machineId) => {
        const running = machines.get(machineId);
        if (!running) return 'Off';
        options.onPower?.(running.spec, 'Off');
        options.onPower?.(running.spec, 'On');
        return 'On';
      },
      list: async () => [...machines.values()].map(({ spec }) => ({ id: spec.id, name: spec.name, power: 'On' })),
      changeIso: async (machineId, iso) => {
        const running = machines.get(machineId);
        if (iso && !store(iso.poolId).images.has(iso.imageId)) throw new CloudError('NotFound', 'the pool does not have this ISO');
        if (running) running.iso = iso;
      },
      remains: async () => [...spoken].filter((machineId) => !machines.has(machineId)),
      forget: async (ids) => {
        for (const machineId of ids) if (!machines.has(machineId)) spoken.delete(machineId);
      },
      serialLog: async (machineId) => {
        const running = machines.get(machineId);
        return running ? (options.serialLog?.(running.spec) ?? `${running.spec.name} runs in a simulation\n`) : '';
      },
    },
    pools: {
      attach: async (pool) => {
        pools.set(pool.id, pool);
        if (!storage.has(pool.id)) storage.set(pool.id, { images: new Map(), volumes: new Map() });
        return usage(pool.id);
      },
      detach: async (poolId) => {
        for (const { spec } of machines.values()) {
          if (spec.disks.some((disk) => disk.poolId === poolId))
            throw new CloudError('InUse', 'a machine on this host uses the storage pool');
        }
        pools.delete(poolId);
      },
      measure: async (poolId) => usage(poolId),
      ensureImage: async ({ poolId, imageId, sha256, format }: ImageRequest) => {
        const { images } = store(poolId);
        const image = images.get(imageId) ?? {
          sizeBytes: Math.ceil(imageBytes / 4),
          virtualSizeBytes: format === 'iso' ? Math.ceil(imageBytes / 4) : imageBytes,
          sha256,
        };
        images.set(imageId, image);
        return { sizeBytes: image.sizeBytes, virtualSizeBytes: image.virtualSizeBytes };
      },
      removeImage: async (poolId, imageId) => {
        store(poolId).images.delete(imageId);
      },
      createVolume: async ({ poolId, volumeId, sizeBytes, imageId }: VolumeRequest) => {
        const { images, volumes } = store(poolId);
        const existing = volumes.get(volumeId);
        if (existing) return { sizeBytes: existing.sizeBytes };
        const image = imageId === null ? null : images.get(imageId);
        if (image === undefined) throw new CloudError('NotFound', 'the pool does not have this image', { imageId });
        const volume = { sizeBytes: Math.max(sizeBytes, image?.virtualSizeBytes ?? 0), imageId };
        volumes.set(volumeId, volume);
        return { sizeBytes: volume.sizeBytes };
      },
      removeVolume: async (poolId, volumeId) => {
        for (const { spec } of machines.values()) {
          if (spec.disks.some((disk) => disk.volumeId === volumeId)) throw new CloudError('InUse', 'a running machine uses the volume');
        }
        store(poolId).volumes.delete(volumeId);
      },
      list: async (poolId) => {
        const { images, volumes } = store(poolId);
        return { volumes: [...volumes.keys()], images: [...images.keys()] };
      },
    },
    applyNetworks: async (wanted) => {
      if (!networks || wanted.generation >= networks.generation) networks = wanted;
      return networks.generation;
    },
    configure: async (wanted) => {
      configuration = wanted;
    },
    ensureBootFiles: async (files) => {
      for (const { name } of files) bootFiles.add(name);
    },
    describe: async () => ({
      hostName: options.hostName ?? `simulated-${id.slice(-6)}`,
      accelerator: 'simulated',
      acceleratorReason: 'machines of this host exist in memory only',
      architecture: 'x86_64',
      cpuCount,
      cpuMhz: options.cpuMhz ?? 2000,
      cpuModel: 'simulated',
      memoryMib,
      operatingSystem: 'simulated',
      kernel: 'simulated',
      libvirtVersion: '',
      qemuVersion: '',
      agentVersion: version,
      features: { vxlan: true, vlan: true, nfs: true, nftablesBridge: true, bridgePortIsolation: true, cpuShares: true },
      bridges: [...(options.bridges ?? ['cloudbr0', 'cloudbr1'])],
    }),
    restore: async () => {},
    watch: (listener) => {
      changed = listener;
    },
    close: async () => {},
  };

  const report = powerReport(host.machines.list);
  const handlers = options.log ? logged(hostHandlers(host), options.log) : hostHandlers(host);
  return {
    ...host,
    id,
    handlers: options.latencyMilliseconds || options.failure ? handlers.map((handler) => disturbed(handler, options)) : handlers,
    beat: report.beat,
    linkUp: report.restart,
    powerOff: (machineId) => {
      const running = machines.get(machineId);
      if (!running) return;
      machines.delete(machineId);
      options.onPower?.(running.spec, 'Off');
      changed();
    },
    specOf: (machineId) => machines.get(machineId)?.spec ?? null,
    isoOf: (machineId) => machines.get(machineId)?.iso ?? null,
    networks: () => networks,
    configuration: () => configuration,
  };
}

/** Only for hosts that are to be slow or to fail: thousands of others are spared what it takes. */
const disturbed = (
  { name, handle }: Handler,
  { latencyMilliseconds, failure }: Pick<SimulatedHostOptions, 'latencyMilliseconds' | 'failure'>,
): Handler => ({
  name,
  handle: async (ask, context) => {
    const milliseconds = latencyMilliseconds?.(name) ?? 0;
    if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
    const refusal = failure?.(name, ask);
    if (refusal) throw refusal;
    return handle(ask, context);
  },
});
