import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { physicalNetworkKind } from '../kinds.ts';
import { loadTrafficTypes, trafficTypeView } from '../views.ts';

export const listTrafficTypes = command({
  name: 'listTrafficTypes',
  about: 'Lists the traffic types of a physical network.',
  access: 'admin',
  params: { ...pageParams, physicalnetworkid: required(p.entity('the physical network', physicalNetworkKind, 'list')) },
  reply: reply.list(trafficTypeView),
  run: (context, params) =>
    list(context, params, {
      from: 'traffic_type t',
      where: [where.sql('t.removed_at IS NULL'), where.equal('t.physical_network_id', params.physicalnetworkid.id)],
      keyword: ['t.traffic_type'],
      load: (ids) => loadTrafficTypes(context, ids),
    }),
});
