import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { imageStoreKind, imageStores } from '../../template/index.ts';

export const deleteImageStore = command({
  name: 'deleteImageStore',
  about: 'Removes secondary storage that holds no template and no ISO.',
  access: 'admin',
  event: { type: 'IMAGE.STORE.DELETE', text: 'removing image store', resource: 'ImageStore' },
  params: { id: required(p.entity('the image store', imageStoreKind, 'operate')) },
  reply: reply.success(),
  run: async ({ db, wake }, { id: given }) => {
    await db.transact(async (tx) => {
      // Registering takes the same lock, so nothing is put there meanwhile.
      const store = await lock(tx, imageStores, { id: given.id });
      if (!store || store.removedAt) throw new CloudError('WrongState', 'the image store was removed meanwhile');
      const [row] = await tx.query(
        `SELECT COUNT(*) AS n, MIN(te.name) AS example FROM stored_image si JOIN template te ON te.id = si.template_id
          WHERE si.store_id = ? AND si.removed_at IS NULL`,
        [store.id],
      );
      if (Number(row.n) > 0)
        throw new CloudError(
          'InUse',
          `the image store ${store.name} still holds ${row.n} template(s) or ISO(s), such as ${row.example}; delete them first`,
        );
      await tx.update(imageStores, { id: store.id }, { removedAt: new Date() });
    });
    wake('storage');
  },
});
