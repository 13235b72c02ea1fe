import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { podKind, zoneKind } from '../kinds.ts';
import { loadPods, podView } from '../views.ts';

export const listPods = command({
  name: 'listPods',
  about: 'Lists pods.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('only this pod', podKind, 'list'),
    name: p.string('only pods of this name'),
    zoneid: p.entity('only pods of this zone', zoneKind, 'list'),
    allocationstate: p.string('only pods in this state'),
    showcapacities: p.boolean('also show what there is and what is used'),
  },
  reply: reply.list(podView),
  run: (context, params) =>
    list(context, params, {
      from: 'pod t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('t.allocation_state', params.allocationstate),
      ],
      keyword: ['t.name'],
      load: (ids) => loadPods(context, ids, { capacities: params.showcapacities }),
    }),
});
