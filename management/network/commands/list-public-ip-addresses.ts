import { command, reply } from '../../core/command.ts';
import { list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { ipRangeKind, physicalNetworkKind, zoneKind } from '../../infra/index.ts';
import { loadPublicIps, networkKind, publicIpKind, publicIpView } from '../views.ts';

export const listPublicIpAddresses = command({
  name: 'listPublicIpAddresses',
  about: 'Lists public addresses.',
  access: 'user',
  params: {
    ...pageParams,
    ...ownerParams,
    id: p.entity('the address of this id', publicIpKind, 'list'),
    ipaddress: p.string('exactly this address'),
    allocatedonly: p.boolean('only acquired ones, which is the default; root admins may ask for all'),
    associatednetworkid: p.entity('addresses that serve this network', networkKind, 'list'),
    zoneid: p.entity('addresses of this zone', zoneKind, 'list'),
    physicalnetworkid: p.entity('addresses on this physical network', physicalNetworkKind, 'list'),
    vlanid: p.entity('addresses of this range', ipRangeKind, 'list'),
    issourcenat: p.boolean('source NAT addresses, or others'),
    isstaticnat: p.boolean('static NAT addresses, or others'),
    state: p.string('addresses in this state'),
    forvirtualnetwork: p.boolean('true for public addresses'),
  },
  reply: reply.list(publicIpView),
  run: (context, params) => {
    const all = params.allocatedonly === false && context.caller.accountType === 'admin';
    return list(context, params, {
      from: 'public_ip t',
      where: [
        all ? null : where.sql("t.state <> 'Free' AND t.account_id IS NOT NULL"),
        where.equal('t.id', params.id?.id),
        where.equal('t.address', params.ipaddress),
        where.equal('t.network_id', params.associatednetworkid?.id),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('t.physical_network_id', params.physicalnetworkid?.id),
        where.equal('t.ip_range_id', params.vlanid?.id),
        where.equal('t.is_source_nat', params.issourcenat),
        where.equal('t.state', params.state),
        params.isstaticnat === true || params.forvirtualnetwork === false ? where.sql('FALSE') : null,
      ],
      keyword: ['t.address'],
      ...(all && params.account === undefined && params.domainid === undefined
        ? {}
        : { scope: { ...params, byId: params.id !== undefined } }),
      order: 't.address_number',
      load: (ids) => loadPublicIps(context.db, ids),
    });
  },
});
