import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { clusterKind, hostKind, podKind, zoneKind } from '../../infra/index.ts';
import { diskOfferingKind, serviceOfferingKind } from '../../offering/index.ts';
import { volumeKind, volumeMachineKind } from '../kinds.ts';
import { loadVolumes, volumeView } from '../views.ts';

export const listVolumes = command({
  name: 'listVolumes',
  about: 'Lists volumes.',
  access: 'user',
  params: {
    ...pageParams,
    ...ownerParams,
    id: p.entity('the volume of this id', volumeKind, 'list'),
    ids: p.entities('the volumes of these ids', volumeKind, 'list'),
    name: p.string('volumes of exactly this name'),
    type: p.string('volumes of this type: ROOT or DATADISK'),
    state: p.string('volumes in this state'),
    virtualmachineid: p.entity('volumes of this machine', volumeMachineKind, 'list'),
    zoneid: p.entity('volumes in this zone', zoneKind, 'list'),
    podid: p.entity('volumes in this pod', podKind, 'list'),
    clusterid: p.entity('volumes in this cluster', clusterKind, 'list', { adminOnly: true }),
    hostid: p.entity('volumes of machines on this host', hostKind, 'list'),
    storageid: p.string('volumes on the storage pool of this id', { adminOnly: true }),
    diskofferingid: p.entity('volumes of this disk offering', diskOfferingKind, 'list'),
    serviceofferingid: p.entity('volumes of this service offering', serviceOfferingKind, 'list'),
    displayvolume: p.boolean('volumes that are shown to their owners, or are not', { adminOnly: true }),
    listsystemvms: p.boolean('also those of system VMs', { adminOnly: true }),
    retrieveonlyresourcecount: p.boolean('only how many there are'),
  },
  reply: reply.list(volumeView),
  run: async (context, params) => {
    const { virtualmachineid: machine, podid, clusterid, hostid, listsystemvms = false, retrieveonlyresourcecount } = params;
    const ids = params.id ? [params.id.id] : params.ids?.map(({ id }) => id);
    const withSystem = isRootAdmin(context.caller) && (listsystemvms || ids !== undefined || machine !== undefined);
    const page = await list(context, params, {
      from: 'volume t LEFT JOIN storage_pool p ON p.id = t.pool_id LEFT JOIN machine m ON m.id = t.machine_id',
      where: [
        where.sql('t.removed_at IS NULL'),
        withSystem ? null : where.sql('NOT t.`system`'),
        where.oneOf('t.id', ids),
        where.equal('t.name', params.name),
        where.equal('t.type', params.type?.toUpperCase()),
        params.state === undefined ? null : where.sql('LOWER(t.state) = LOWER(?)', params.state),
        where.equal('t.machine_id', machine?.id),
        where.equal('t.zone_id', params.zoneid?.id),
        podid ? where.sql('(p.pod_id = ? OR m.pod_id = ?)', podid.id, podid.id) : null,
        clusterid
          ? where.sql('(p.cluster_id = ? OR m.host_id IN (SELECT id FROM host WHERE cluster_id = ?))', clusterid.id, clusterid.id)
          : null,
        where.equal('m.host_id', hostid?.id),
        where.equal('t.pool_id', params.storageid),
        where.equal('t.disk_offering_id', params.diskofferingid?.id),
        where.equal('t.service_offering_id', params.serviceofferingid?.id),
        params.displayvolume === undefined ? null : where.sql(params.displayvolume ? 'NOT t.`system`' : 't.`system`'),
      ],
      keyword: ['t.name', 't.type', 't.state'],
      scope: { ...params, byId: ids !== undefined || machine !== undefined },
      load: (found) => (retrieveonlyresourcecount ? Promise.resolve([]) : loadVolumes(context.db, found)),
    });
    return page;
  },
});
