import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { zoneKind } from '../../infra/index.ts';
import { imageStoreKind } from '../../template/index.ts';
import { imageStoreView, loadImageStores } from '../views.ts';

export const listImageStores = command({
  name: 'listImageStores',
  about: 'Lists secondary storage.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('the image store of this id', imageStoreKind, 'list'),
    name: p.string('image stores of exactly this name'),
    zoneid: p.entity('image stores of this zone', zoneKind, 'list'),
    provider: p.string('image stores of this provider'),
    protocol: p.string('image stores reached this way: nfs or file'),
    readonly: p.boolean('true for those that nothing new is put on, false for the others'),
  },
  reply: reply.list(imageStoreView),
  run: (context, params) =>
    list(context, params, {
      from: 'image_store t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.zone_id', params.zoneid?.id),
        params.provider === undefined ? null : where.sql('LOWER(t.provider) = LOWER(?)', params.provider),
        params.protocol === undefined
          ? null
          : where.sql("CASE t.provider WHEN 'NFS' THEN 'nfs' ELSE 'file' END = LOWER(?)", params.protocol),
        where.equal('t.read_only', params.readonly),
      ],
      keyword: ['t.name', 't.url'],
      load: (ids) => loadImageStores(context.db, ids),
    }),
});
