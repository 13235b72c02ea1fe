import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { entityKind, p } from '../../core/params.ts';
import { type ManagementServerRow, managementServers } from '../../core/tables.ts';
import { hostDetailNames, hostView, loadHosts } from '../host-views.ts';
import { clusterKind, hostKind, podKind, zoneKind } from '../kinds.ts';

const managementServerKind = entityKind<ManagementServerRow>({
  noun: 'management server',
  find: (tx, id) => tx.findOneBy(managementServers, { id: id as never }),
  removed: () => false,
  owner: () => null,
});

export const listHosts = command({
  name: 'listHosts',
  about: 'Lists hosts.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('only this host', hostKind, 'list'),
    name: p.string('only hosts of this name'),
    zoneid: p.entity('only hosts of this zone', zoneKind, 'list'),
    podid: p.entity('only hosts of this pod', podKind, 'list'),
    clusterid: p.entity('only hosts of this cluster', clusterKind, 'list'),
    hypervisor: p.string('only hosts of this hypervisor'),
    type: p.string('only hosts of this type; all are Routing'),
    state: p.string('only hosts whose link is in this state, such as Up'),
    resourcestate: p.string('only hosts in this resource state, such as Enabled or Maintenance'),
    managementserverid: p.entity('only hosts whose link this management server has', managementServerKind, 'list'),
    version: p.string('only hosts whose agent has this version'),
    details: p.texts(`how much to show: ${hostDetailNames.join(', ')}`),
  },
  reply: reply.list(hostView),
  run: (context, params) => {
    const details = (params.details ?? ['all']).map((given) => {
      const name = hostDetailNames.find((each) => each === given.toLowerCase());
      if (name === undefined)
        throw new CloudError('InvalidParameter', `details can be ${hostDetailNames.join(', ')}, and ${given.slice(0, 60)} is none of them`);
      return name;
    });
    return list(context, params, {
      from: 'host t JOIN agent a ON a.id = t.id',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('t.pod_id', params.podid?.id),
        where.equal('t.cluster_id', params.clusterid?.id),
        params.hypervisor === undefined ? null : where.sql('LOWER(t.hypervisor) = ?', params.hypervisor.toLowerCase()),
        params.type === undefined || params.type.toLowerCase() === 'routing' ? null : where.sql('FALSE'),
        where.equal('a.state', params.state),
        where.equal('t.resource_state', params.resourcestate),
        where.equal('a.server_id', params.managementserverid?.id),
        where.equal('a.version', params.version),
      ],
      keyword: ['t.name', 't.address', 'a.state'],
      load: (ids) => loadHosts(context, ids, details),
    });
  },
});
