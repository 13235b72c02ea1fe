import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { finish } from '../finish.ts';
import { storagePoolKind } from '../kinds.ts';
import { mustHoldNoVolumes } from '../pools.ts';
import { deleteStoragePoolSaga } from '../sagas/delete-storage-pool.ts';

const FINISH_SECONDS = 600;

export const deleteStoragePool = command({
  name: 'deleteStoragePool',
  about: 'Removes primary storage that holds no volume, and takes it from its hosts.',
  access: 'admin',
  event: { type: 'STORAGE.POOL.DELETE', text: 'removing storage pool', resource: 'StoragePool' },
  params: { id: required(p.entity('the storage pool', storagePoolKind, 'operate')) },
  reply: reply.success(),
  run: async (context, { id: pool }) => {
    await mustHoldNoVolumes(context.db.read, pool);
    const job = await context.jobs.start(
      deleteStoragePoolSaga,
      { poolId: pool.id },
      { requestId: context.requestId, instance: { type: 'StoragePool', id: pool.id } },
    );
    await finish(context, job, FINISH_SECONDS);
  },
});
