import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { physicalNetworkKind, zoneKind } from '../kinds.ts';
import { loadPhysicalNetworks, physicalNetworkView } from '../views.ts';

export const listPhysicalNetworks = command({
  name: 'listPhysicalNetworks',
  about: 'Lists physical networks.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('only this physical network', physicalNetworkKind, 'list'),
    name: p.string('only physical networks of this name'),
    zoneid: p.entity('only physical networks of this zone', zoneKind, 'list'),
  },
  reply: reply.list(physicalNetworkView),
  run: (context, params) =>
    list(context, params, {
      from: 'physical_network t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.zone_id', params.zoneid?.id),
      ],
      keyword: ['t.name'],
      load: (ids) => loadPhysicalNetworks(context, ids),
    }),
});
