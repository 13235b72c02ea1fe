import { command, reply } from '../../core/command.ts';
import { list, ownerParams, pageParams, scopeFilters, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { clusterKind, hostKind, podKind, zoneKind } from '../../infra/index.ts';
import { networkKind } from '../../network/index.ts';
import { systemTemplate } from '../template.ts';
import { loadSystemVms, routerKind, routerView } from '../views.ts';

export const listRouters = command({
  name: 'listRouters',
  about: 'Lists virtual routers.',
  access: 'domainAdmin',
  params: {
    ...pageParams,
    ...ownerParams,
    id: p.entity('the router of this id', routerKind, 'list'),
    name: p.string('the router of this name'),
    state: p.string('only those in this state'),
    networkid: p.entity('only those of this network', networkKind, 'list'),
    zoneid: p.entity('only those of this zone', zoneKind, 'list'),
    podid: p.entity('only those of this pod', podKind, 'list'),
    clusterid: p.entity('only those of this cluster', clusterKind, 'list'),
    hostid: p.entity('only those on this host', hostKind, 'list'),
    version: p.string('only those whose programs have this version'),
    forvpc: p.boolean('routers of VPCs, or others'),
  },
  reply: reply.list(routerView),
  run: async (context, params) => {
    const current = (await systemTemplate(context.config))?.iso.version ?? null;
    // A router is the cloud's; who sees it is decided by whose network it serves.
    const scope = await scopeFilters(context, { ...params, listall: params.listall ?? true, byId: params.id !== undefined });
    return list(context, params, {
      from: 'system_vm t JOIN machine m ON m.id = t.id LEFT JOIN network n ON n.id = t.network_id LEFT JOIN host h ON h.id = m.host_id',
      where: [
        where.sql("t.removed_at IS NULL AND t.kind = 'router'"),
        ...scope.map((each) =>
          each ? { ...each, sql: each.sql.replaceAll('t.account_id', 'n.account_id').replaceAll('t.domain_id', 'n.domain_id') } : null,
        ),
        where.equal('t.id', params.id?.id),
        where.equal('m.instance_name', params.name),
        where.equal('m.state', params.state),
        where.equal('t.network_id', params.networkid?.id),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('m.pod_id', params.podid?.id),
        where.equal('h.cluster_id', params.clusterid?.id),
        where.equal('m.host_id', params.hostid?.id),
        where.equal('t.version', params.version),
        params.forvpc === true ? where.sql('FALSE') : null,
      ],
      keyword: ['m.instance_name', 'm.state'],
      load: (ids) => loadSystemVms(context.db, ids, current),
    });
  },
});
