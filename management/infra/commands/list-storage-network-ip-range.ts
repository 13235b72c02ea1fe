import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { ipRangeKind, podKind, zoneKind } from '../kinds.ts';
import { loadStorageRanges, storageRangeView } from '../views.ts';

export const listStorageNetworkIpRange = command({
  name: 'listStorageNetworkIpRange',
  about: 'Lists ranges of storage addresses.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('only this range', ipRangeKind, 'list'),
    podid: p.entity('only ranges of this pod', podKind, 'list'),
    zoneid: p.entity('only ranges of this zone', zoneKind, 'list'),
  },
  reply: reply.list(storageRangeView),
  run: (context, params) =>
    list(context, params, {
      from: 'ip_range t',
      where: [
        where.sql("t.removed_at IS NULL AND t.kind = 'storage'"),
        where.equal('t.id', params.id?.id),
        where.equal('t.pod_id', params.podid?.id),
        where.equal('t.zone_id', params.zoneid?.id),
      ],
      keyword: ['t.start_ip', 't.end_ip'],
      load: (ids) => loadStorageRanges(context, ids),
    }),
});
