import { CloudError } from '../../../protocol/errors.ts';
import { userKind } from '../../account/index.ts';
import { command, reply } from '../../core/command.ts';
import { list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { clusterKind, hostKind, podKind, zoneKind } from '../../infra/index.ts';
import { networkKind } from '../../network/index.ts';
import { serviceOfferingKind } from '../../offering/index.ts';
import { storagePoolKind } from '../../storage/index.ts';
import { templateKind } from '../../template/index.ts';
import { loadVms, type VmDetail, vmDetails, vmKind, vmView } from '../views.ts';

export const listVirtualMachines = command({
  name: 'listVirtualMachines',
  about: 'Lists virtual machines.',
  access: 'user',
  params: {
    ...pageParams,
    ...ownerParams,
    id: p.entity('the virtual machine of this id', vmKind, 'list'),
    ids: p.entities('the virtual machines of these ids', vmKind, 'list'),
    name: p.string('those whose name or display name contains this'),
    state: p.string('those in this state; Present: those not destroyed'),
    zoneid: p.entity('those in this zone', zoneKind, 'list'),
    podid: p.entity('those in this pod', podKind, 'list', { adminOnly: true }),
    clusterid: p.entity('those in this cluster', clusterKind, 'list', { adminOnly: true }),
    hostid: p.entity('those on this host', hostKind, 'list', { adminOnly: true }),
    storageid: p.entity('those with a volume on this storage pool', storagePoolKind, 'list', { adminOnly: true }),
    networkid: p.entity('those in this network', networkKind, 'list'),
    templateid: p.entity('those made from this template', templateKind, 'list'),
    isoid: p.entity('those with this ISO in their drive', templateKind, 'list'),
    serviceofferingid: p.entity('those of this service offering', serviceOfferingKind, 'list'),
    userid: p.entity('those made by this user', userKind, 'list'),
    keypair: p.string('those with this SSH key pair'),
    hypervisor: p.string('those on this hypervisor'),
    haenable: p.boolean('those that are started elsewhere when their host is lost, or not'),
    displayvm: p.boolean('those shown to their owner, or not', { adminOnly: true }),
    userdata: p.boolean('show user data, too'),
    details: p.texts(`kinds of details to show, all unless given: ${vmDetails.join(', ')}`),
    retrieveonlyresourcecount: p.boolean('only how many there are'),
  },
  reply: reply.list(vmView),
  run: (context, params) => {
    if (params.id !== undefined && params.ids !== undefined)
      throw new CloudError('InvalidParameter', 'Specify either id or ids but not both parameters');
    const only = params.details === undefined ? undefined : new Set(params.details.map(readDetail));
    return list(context, params, {
      from: 'vm t JOIN machine m ON m.id = t.id LEFT JOIN host h ON h.id = m.host_id',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.oneOf(
          't.id',
          params.ids?.map(({ id }) => id),
        ),
        params.name === undefined ? null : where.sql('(t.name LIKE ? OR t.display_name LIKE ?)', like(params.name), like(params.name)),
        stateFilter(params.state),
        where.equal('m.zone_id', params.zoneid?.id),
        where.equal('h.pod_id', params.podid?.id),
        where.equal('h.cluster_id', params.clusterid?.id),
        where.equal('m.host_id', params.hostid?.id),
        params.storageid
          ? where.sql(
              'EXISTS (SELECT 1 FROM volume o WHERE o.machine_id = t.id AND o.pool_id = ? AND o.removed_at IS NULL)',
              params.storageid.id,
            )
          : null,
        params.networkid
          ? where.sql(
              'EXISTS (SELECT 1 FROM nic c WHERE c.machine_id = t.id AND c.network_id = ? AND c.removed_at IS NULL)',
              params.networkid.id,
            )
          : null,
        where.equal('m.template_id', params.templateid?.id),
        where.equal('m.iso_id', params.isoid?.id),
        where.equal('m.service_offering_id', params.serviceofferingid?.id),
        where.equal('t.user_id', params.userid?.id),
        params.keypair === undefined
          ? null
          : where.sql('EXISTS (SELECT 1 FROM vm_key k WHERE k.machine_id = t.id AND k.name = ?)', params.keypair),
        params.hypervisor === undefined ? null : where.sql('LOWER(m.hypervisor) = ?', params.hypervisor.toLowerCase()),
        where.equal('m.ha_enabled', params.haenable),
        where.equal('t.display_vm', params.displayvm ?? (context.caller.accountType === 'admin' ? undefined : true)),
      ],
      keyword: ['t.name', 't.display_name', 'm.state'],
      scope: { ...params, byId: params.id !== undefined || params.ids !== undefined },
      load: async (ids) =>
        params.retrieveonlyresourcecount
          ? []
          : loadVms(context.db, ids, { withUserData: params.userdata ?? false, ...(only ? { only } : {}) }),
    });
  },
});

function readDetail(text: string): VmDetail {
  const found = vmDetails.find((name) => name === text.toLowerCase());
  if (found === undefined)
    throw new CloudError(
      'InvalidParameter',
      `The details parameter contains a non permitted value ${text.slice(0, 60)}. The allowed values are ${vmDetails.join(', ')}`,
    );
  return found;
}

const like = (text: string) => `%${text.replace(/[\\%_]/g, '\\$&')}%`;
const stateFilter = (state: string | undefined) => {
  if (state === undefined) return null;
  return state.toLowerCase() === 'present'
    ? where.sql("m.state NOT IN ('Destroyed', 'Expunging')")
    : where.sql('LOWER(m.state) = ?', state.toLowerCase());
};
