import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { imageStoreKind, imageStores } from '../../template/index.ts';
import { imageStoreView, loadImageStores } from '../views.ts';

export const updateImageStore = command({
  name: 'updateImageStore',
  about: 'Renames secondary storage, or says whether new templates and ISOs are put there.',
  access: 'admin',
  envelope: 'updateImageStore',
  event: { type: 'IMAGE.STORE.UPDATE', text: 'updating image store', resource: 'ImageStore' },
  params: {
    id: required(p.entity('the image store', imageStoreKind, 'operate')),
    name: p.string('the new name'),
    readonly: p.boolean('true to put nothing new there'),
  },
  reply: reply.one(imageStoreView),
  run: async ({ db, wake }, { id: store, name, readonly }) => {
    if (name !== undefined && name.trim() === '') throw new CloudError('InvalidParameter', 'the name of the image store is empty');
    const changes = { ...(name === undefined ? {} : { name: name.trim() }), ...(readonly === undefined ? {} : { readOnly: readonly }) };
    if (Object.keys(changes).length > 0) await db.transact((tx) => tx.update(imageStores, { id: store.id }, changes));
    wake('storage');
    const [shown] = await loadImageStores(db, [store.id]);
    if (!shown) throw new CloudError('Internal', 'the image store was not found again');
    return shown;
  },
});
