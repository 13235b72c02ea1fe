import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { clusterKind, podKind, zoneKind } from '../kinds.ts';
import { clusterView, loadClusters } from '../views.ts';

export const listClusters = command({
  name: 'listClusters',
  about: 'Lists clusters.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('only this cluster', clusterKind, 'list'),
    name: p.string('only clusters of this name'),
    zoneid: p.entity('only clusters of this zone', zoneKind, 'list'),
    podid: p.entity('only clusters of this pod', podKind, 'list'),
    hypervisor: p.string('only clusters of this hypervisor'),
    clustertype: p.string('only clusters of this type; all are CloudManaged'),
    allocationstate: p.string('only clusters in this state'),
    showcapacities: p.boolean('also show what there is and what is used'),
  },
  reply: reply.list(clusterView),
  run: (context, params) =>
    list(context, params, {
      from: 'cluster t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('t.pod_id', params.podid?.id),
        params.hypervisor === undefined ? null : where.sql('LOWER(t.hypervisor) = ?', params.hypervisor.toLowerCase()),
        where.equal('t.cluster_type', params.clustertype),
        where.equal('t.allocation_state', params.allocationstate),
      ],
      keyword: ['t.name', 't.hypervisor'],
      load: (ids) => loadClusters(context, ids, { capacities: params.showcapacities }),
    }),
});
