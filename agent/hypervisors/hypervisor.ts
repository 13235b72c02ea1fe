/** What a driver offers: one host, whatever carries it. Every function may be called twice with the same question. */
import type { Beat } from '../../protocol/messages/beat.ts';
import type { HostDescription, HostNetworks } from '../../protocol/messages/host.ts';
import type { bootFileName, IsoSpec, MachineSpec } from '../../protocol/messages/machine.ts';
import type { PoolSpec } from '../../protocol/messages/storage.ts';
import type { Id, Infer } from '../../protocol/schema.ts';

export type Power = 'On' | 'Off';
export type BootFileName = Infer<typeof bootFileName>;
export type Iso = Infer<typeof IsoSpec>;
export interface ListedMachine {
  readonly id: Id<'machine'>;
  readonly name: string;
  readonly power: Power;
}
export type Listing = NonNullable<Beat['host']>['machines'];

export interface Hypervisor {
  start(spec: MachineSpec): Promise<{ power: Power; vncPort: number }>;
  stop(id: Id<'machine'>, how: { force: boolean; graceSeconds: number }): Promise<Power>;
  reboot(id: Id<'machine'>, how: { force: boolean }): Promise<Power>;
  list(): Promise<readonly ListedMachine[]>;
  changeIso(id: Id<'machine'>, iso: Iso | null): Promise<void>;
  serialLog(id: Id<'machine'>): Promise<string>;
  /** Machines that do not run and have left something. */
  remains(): Promise<readonly Id<'machine'>[]>;
  forget(ids: readonly Id<'machine'>[]): Promise<void>;
}

export interface Usage {
  totalBytes: number;
  usedBytes: number;
}
export interface ImageRequest {
  readonly poolId: Id<'storagePool'>;
  readonly imageId: Id<'template'>;
  readonly url: string;
  readonly sha256: string;
  readonly format: 'qcow2' | 'iso';
}
export interface VolumeRequest {
  readonly poolId: Id<'storagePool'>;
  readonly volumeId: Id<'volume'>;
  readonly sizeBytes: number;
  readonly imageId: Id<'template'> | null;
}
export interface Pools {
  attach(pool: PoolSpec): Promise<Usage>;
  detach(poolId: Id<'storagePool'>): Promise<void>;
  measure(poolId: Id<'storagePool'>): Promise<Usage>;
  ensureImage(image: ImageRequest, signal: AbortSignal): Promise<{ sizeBytes: number; virtualSizeBytes: number }>;
  removeImage(poolId: Id<'storagePool'>, imageId: Id<'template'>): Promise<void>;
  createVolume(volume: VolumeRequest): Promise<{ sizeBytes: number }>;
  removeVolume(poolId: Id<'storagePool'>, volumeId: Id<'volume'>): Promise<void>;
  list(poolId: Id<'storagePool'>): Promise<{ volumes: Id<'volume'>[]; images: Id<'template'>[] }>;
}

/** What management sends once per link; kept, so that a restarted agent has its control network before its link. */
export interface HostConfiguration {
  readonly controlAddress: string;
  readonly relayTargets: readonly string[];
  readonly vncListenAddress: string;
}
export interface BootFile {
  readonly name: BootFileName;
  readonly url: string;
  readonly sha256: string;
}

export interface Host {
  readonly machines: Hypervisor;
  readonly pools: Pools;
  /** Answers the generation that is in force afterwards. */
  applyNetworks(networks: HostNetworks): Promise<number>;
  configure(configuration: HostConfiguration): Promise<void>;
  ensureBootFiles(files: readonly BootFile[], signal: AbortSignal): Promise<void>;
  describe(): Promise<HostDescription>;
  /** Makes what earlier messages said true again, from the agent's own files and the hypervisor. */
  restore(): Promise<void>;
  /** `changed` is called when a machine came or went without being told. */
  watch(changed: () => void): void;
  /** Ends the agent's part. Machines keep running. */
  close(): Promise<void>;
}
