import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { hostKind, podKind, zoneKind } from '../../infra/index.ts';
import { systemTemplate } from '../template.ts';
import { apiKinds, loadSystemVms, systemVmKind, systemVmView } from '../views.ts';

export const listSystemVms = command({
  name: 'listSystemVms',
  about: 'Lists console proxies and secondary storage VMs.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('the system VM of this id', systemVmKind, 'list'),
    name: p.string('the system VM of this name'),
    systemvmtype: p.word('only those of this type', ['consoleproxy', 'secondarystoragevm']),
    state: p.string('only those in this state'),
    zoneid: p.entity('only those of this zone', zoneKind, 'list'),
    podid: p.entity('only those of this pod', podKind, 'list'),
    hostid: p.entity('only those on this host', hostKind, 'list'),
  },
  reply: reply.list(systemVmView),
  run: async (context, params) => {
    const current = (await systemTemplate(context.config))?.iso.version ?? null;
    return list(context, params, {
      from: 'system_vm t JOIN machine m ON m.id = t.id',
      where: [
        where.sql("t.removed_at IS NULL AND t.kind <> 'router'"),
        where.equal('t.id', params.id?.id),
        where.equal('m.instance_name', params.name),
        where.equal('m.state', params.state),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('m.pod_id', params.podid?.id),
        where.equal('m.host_id', params.hostid?.id),
        where.equal('t.kind', params.systemvmtype && Object.entries(apiKinds).find(([, name]) => name === params.systemvmtype)?.[0]),
      ],
      keyword: ['m.instance_name', 'm.state'],
      load: (ids) => loadSystemVms(context.db, ids, current),
    });
  },
});
