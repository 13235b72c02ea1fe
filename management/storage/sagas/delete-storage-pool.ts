import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { DetachPool, RemoveImage } from '../../../protocol/messages/storage.ts';
import { s } from '../../../protocol/schema.ts';
import { storagePoolStates } from '../../../protocol/states/storage.ts';
import { lock, move } from '../../core/db.ts';
import { resolveAlert } from '../../core/events.ts';
import { saga } from '../../core/saga.ts';
import { imageCopies, storagePoolHosts, storagePools } from '../entities.ts';
import { mustHoldNoVolumes, upHostsOf } from '../pools.ts';

/**
 * Takes a pool without volumes away: no new volume from the first step on, then the images on it, then the hosts. A host that is away
 * now lets go of it when it is back. Asked again after a failure, it goes on.
 */
export const deleteStoragePoolSaga = saga({
  name: 'storagePool.delete',
  version: 1,
  input: s.object({ poolId: s.id('storagePool') }),
  run: async (run, { poolId }) => {
    const { hostIds, imageIds } = await run.step('removed', async (tx) => {
      const pool = await lock(tx, storagePools, { id: poolId });
      if (!pool || pool.removedAt) return { hostIds: [], imageIds: [] };
      await mustHoldNoVolumes(tx, pool);
      if (pool.state !== 'Removed') await move(tx, storagePools, storagePoolStates, pool, 'remove');
      const copies = await tx.findBy(imageCopies, { poolId });
      return { hostIds: await upHostsOf(tx, pool), imageIds: copies.map(({ templateId }) => templateId) };
    });
    const [through] = hostIds;
    if (through) {
      for (const imageId of imageIds)
        await run.ask(`image ${imageId}`, { kind: 'host', id: through }, call(RemoveImage, { poolId, imageId }));
    }
    for (const hostId of hostIds) {
      try {
        await run.part(`host ${hostId}`, (part) => part.ask('detach', { kind: 'host', id: hostId }, call(DetachPool, { poolId })));
      } catch (error) {
        if (!(error instanceof CloudError) || error.code !== 'Unreachable') throw error;
        continue;
      }
      await run.step(`host ${hostId} detached`, async (tx) => {
        await tx.delete(storagePoolHosts, { poolId, hostId });
        return null;
      });
    }
    await run.step('gone', async (tx, { wake }) => {
      await tx.delete(imageCopies, { poolId });
      await tx.update(storagePools, { id: poolId }, { removedAt: new Date(), allocatedBytes: 0 });
      await resolveAlert(tx, 'storage', poolId);
      wake('storage');
      return null;
    });
    return null;
  },
});
