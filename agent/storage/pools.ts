/** The pools of this host. Messages name a pool by its id only, so the agent keeps what each is. */
import { join, normalize } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/log.ts';
import { PoolSpec } from '../../protocol/messages/storage.ts';
import { type Id, s } from '../../protocol/schema.ts';
import type { Fetch } from '../fetch.ts';
import { stateFile } from '../files.ts';
import type { Iso, Pools } from '../hypervisors/hypervisor.ts';
import type { DiskFiles } from '../hypervisors/libvirt/domain-xml.ts';
import { turns } from '../turns.ts';
import { poolDrivers } from './index.ts';
import { type PoolFiles, poolFiles } from './pool-files.ts';

export interface LocalPools extends Pools {
  /** Opens again what was attached before the agent was restarted. */
  restore(): Promise<void>;
  disk(poolId: Id<'storagePool'>, volumeId: Id<'volume'>): Promise<DiskFiles>;
  iso(iso: Iso): Promise<string>;
}
export interface PoolUse {
  pool(poolId: Id<'storagePool'>): Promise<boolean>;
  volume(volumeId: Id<'volume'>): Promise<boolean>;
}
export interface LocalPoolsOptions {
  readonly hostId: string;
  readonly stateDirectory: string;
  readonly fetch: Fetch;
  readonly owner: { uid: number; gid: number } | null;
  /** Whether a machine that runs here uses it. */
  readonly inUse: PoolUse;
  readonly log: Log;
}

export function localPools({ hostId, stateDirectory, fetch, owner, inUse, log }: LocalPoolsOptions): LocalPools {
  const kept = stateFile(join(stateDirectory, 'pools.json'), s.list(PoolSpec));
  const drivers = {
    SharedMountPoint: poolDrivers.SharedMountPoint(),
    Filesystem: poolDrivers.Filesystem(),
    NetworkFilesystem: poolDrivers.NetworkFilesystem({ stateDirectory }),
  };
  const inTurn = turns();
  const attached = new Map<Id<'storagePool'>, PoolSpec>();
  const open = new Map<Id<'storagePool'>, PoolFiles>();

  const files = async (poolId: Id<'storagePool'>): Promise<PoolFiles> => {
    const ready = open.get(poolId);
    if (ready) return ready;
    const pool = attached.get(poolId);
    if (!pool) throw new CloudError('NotFound', 'the host does not have this storage pool', { poolId });
    return inTurn.take(poolId, () => opened(pool));
  };
  const opened = async (pool: PoolSpec): Promise<PoolFiles> => {
    const ready = open.get(pool.id);
    if (ready) return ready;
    const made = await poolFiles({ directory: await drivers[pool.type].open(pool), hostId, fetch, owner });
    open.set(pool.id, made);
    return made;
  };
  const keep = (): Promise<void> => inTurn.take('kept', () => kept.write([...attached.values()]));
  const volumeTurn = (volumeId: Id<'volume'>): string => `volume ${volumeId}`;

  return {
    attach: (pool) =>
      inTurn.take(pool.id, async () => {
        const plain = normalize(pool.path).replace(/\/$/, '');
        if (plain === '' || plain !== pool.path.replace(/\/$/, '')) {
          throw new CloudError('InvalidParameter', 'the path of a storage pool must be plain, without . and ..');
        }
        const before = attached.get(pool.id);
        if (before && JSON.stringify(before) !== JSON.stringify(pool)) {
          if (await inUse.pool(pool.id)) throw new CloudError('InUse', 'a machine on this host uses the storage pool as it was');
          await drivers[before.type].close(before);
        }
        // Opened anew each time: a mount may have gone since.
        open.delete(pool.id);
        const made = await opened(pool);
        attached.set(pool.id, pool);
        await keep();
        return made.measure();
      }),
    detach: (poolId) =>
      inTurn.take(poolId, async () => {
        const pool = attached.get(poolId);
        if (!pool) return;
        if (await inUse.pool(poolId)) throw new CloudError('InUse', 'a machine on this host uses the storage pool');
        await drivers[pool.type].close(pool);
        open.delete(poolId);
        attached.delete(poolId);
        await keep();
      }),
    measure: async (poolId) => (await files(poolId)).measure(),
    ensureImage: async (image, signal) => {
      const pool = await files(image.poolId);
      return inTurn.take(`image ${image.poolId} ${image.imageId}`, () => pool.ensureImage(image, signal));
    },
    removeImage: async (poolId, imageId) => {
      const pool = await files(poolId);
      await inTurn.take(`image ${poolId} ${imageId}`, () => pool.removeImage(imageId));
    },
    createVolume: async (volume) => {
      const pool = await files(volume.poolId);
      return inTurn.take(volumeTurn(volume.volumeId), () => pool.createVolume(volume));
    },
    removeVolume: async (poolId, volumeId) => {
      const pool = await files(poolId);
      await inTurn.take(volumeTurn(volumeId), async () => {
        if (await inUse.volume(volumeId)) throw new CloudError('InUse', 'a running machine uses the volume');
        await pool.removeVolume(volumeId);
      });
    },
    list: async (poolId) => (await files(poolId)).list(),
    restore: async () => {
      for (const pool of (await kept.read()) ?? []) attached.set(pool.id, pool);
      // A file server that is away must not keep the agent from its link: each pool is opened on the side, and again when it is needed.
      for (const poolId of attached.keys()) {
        files(poolId).catch((err: unknown) => log.warn({ err, poolId }, 'a storage pool is not there yet'));
      }
    },
    disk: async (poolId, volumeId) => (await files(poolId)).volume(volumeId),
    iso: async ({ poolId, imageId }) => (await files(poolId)).iso(imageId),
  };
}
