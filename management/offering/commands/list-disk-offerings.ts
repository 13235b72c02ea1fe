import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { diskOfferingView, loadDiskOfferings } from '../views.ts';
import { diskOfferingKind, visibleTo } from '../visibility.ts';

export const listDiskOfferings = command({
  name: 'listDiskOfferings',
  about: 'Lists disk offerings that the caller may use.',
  access: 'user',
  params: {
    ...pageParams,
    id: p.entity('only this disk offering', diskOfferingKind, 'list'),
    name: p.string('only disk offerings of this name'),
    state: p.word('Active unless given; All for both; only root admins see others than Active', ['Active', 'Inactive', 'All']),
    storagetype: p.word('only those with this storage', ['shared', 'local']),
  },
  reply: reply.list(diskOfferingView),
  run: (context, params) => {
    const { caller } = context;
    const root = isRootAdmin(caller);
    const state = root ? (params.state ?? (params.id ? 'All' : 'Active')) : 'Active';
    return list(context, params, {
      from: 'disk_offering t',
      where: [
        where.sql('t.removed_at IS NULL'),
        visibleTo(caller),
        root ? null : where.equal('t.display_offering', true),
        state === 'All' ? null : where.equal('t.state', state),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.storage_type', params.storagetype),
      ],
      keyword: ['t.name', 't.display_text'],
      load: (ids) => loadDiskOfferings(context.db, ids),
    });
  },
});
