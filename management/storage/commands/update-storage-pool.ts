import { CloudError } from '../../../protocol/errors.ts';
import { storagePoolStates } from '../../../protocol/states/storage.ts';
import { command, reply } from '../../core/command.ts';
import { lock, move } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { storagePools } from '../entities.ts';
import { storagePoolKind } from '../kinds.ts';
import { readTags } from '../rules.ts';
import { loadStoragePools, storagePoolView } from '../views.ts';

export const updateStoragePool = command({
  name: 'updateStoragePool',
  about: 'Renames primary storage, changes its tags, or takes it out of use for new volumes and back.',
  access: 'admin',
  event: { type: 'STORAGE.POOL.UPDATE', text: 'updating storage pool', resource: 'StoragePool' },
  params: {
    id: required(p.entity('the storage pool', storagePoolKind, 'operate')),
    name: p.string('the new name'),
    tags: p.texts('tags that offerings can ask for; they take the place of those there are'),
    enabled: p.boolean('false to put no new volumes on it, true to do so again'),
  },
  reply: reply.one(storagePoolView),
  run: async (context, { id: given, name, tags, enabled }) => {
    if (name !== undefined && name.trim() === '') throw new CloudError('InvalidParameter', 'the name of the storage pool is empty');
    await context.db.transact(async (tx) => {
      const pool = await lock(tx, storagePools, { id: given.id });
      if (!pool || pool.removedAt) throw new CloudError('WrongState', 'the storage pool was removed meanwhile');
      const changes = {
        ...(name === undefined ? {} : { name: name.trim() }),
        ...(tags === undefined ? {} : { tags: readTags(tags) }),
      };
      const state = enabled === undefined ? pool.state : enabled ? 'Up' : 'Disabled';
      if (state !== pool.state) await move(tx, storagePools, storagePoolStates, pool, enabled ? 'enable' : 'disable', changes);
      else if (Object.keys(changes).length > 0) await tx.update(storagePools, { id: pool.id }, changes);
    });
    context.wake('storage');
    const [shown] = await loadStoragePools(context, [given.id]);
    if (!shown) throw new CloudError('Internal', 'the storage pool was not found again');
    return shown;
  },
});
