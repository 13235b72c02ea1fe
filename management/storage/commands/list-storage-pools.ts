import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { clusterKind, hostKind, podKind, zoneKind } from '../../infra/index.ts';
import { storagePoolKind } from '../kinds.ts';
import { loadStoragePools, storagePoolView } from '../views.ts';

export const listStoragePools = command({
  name: 'listStoragePools',
  about: 'Lists primary storage.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('the storage pool of this id', storagePoolKind, 'list'),
    name: p.string('storage pools of exactly this name'),
    zoneid: p.entity('storage pools of this zone', zoneKind, 'list'),
    podid: p.entity('storage pools of this pod', podKind, 'list'),
    clusterid: p.entity('storage pools of this cluster', clusterKind, 'list'),
    hostid: p.entity('storage pools that this host reaches', hostKind, 'list'),
    ipaddress: p.string('storage pools on this server'),
    path: p.string('storage pools at this path'),
    scope: p.word('storage pools of this scope', ['CLUSTER', 'ZONE']),
    status: p.string('storage pools in this state'),
  },
  reply: reply.list(storagePoolView),
  run: (context, params) =>
    list(context, params, {
      from: 'storage_pool t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('t.pod_id', params.podid?.id),
        where.equal('t.cluster_id', params.clusterid?.id),
        params.hostid
          ? where.sql(
              't.zone_id = ? AND (t.cluster_id = ? OR (t.cluster_id IS NULL AND t.hypervisor = ?))',
              params.hostid.zoneId,
              params.hostid.clusterId,
              params.hostid.hypervisor,
            )
          : null,
        params.ipaddress === undefined ? null : where.sql("COALESCE(t.server, 'localhost') = ?", params.ipaddress),
        where.equal('t.path', params.path),
        where.equal('t.scope', params.scope),
        params.status === undefined ? null : where.sql('LOWER(t.state) = LOWER(?)', params.status),
      ],
      keyword: ['t.name', 't.path'],
      load: (ids) => loadStoragePools(context, ids),
    }),
});
