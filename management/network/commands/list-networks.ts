import { command, reply } from '../../core/command.ts';
import { list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { physicalNetworkKind, trafficTypeNames, zoneKind } from '../../infra/index.ts';
import { networkOfferingKind } from '../../offering/index.ts';
import { loadNetworks, networkKind, networkView } from '../views.ts';

export const listNetworks = command({
  name: 'listNetworks',
  about: 'Lists guest networks.',
  access: 'user',
  params: {
    ...pageParams,
    ...ownerParams,
    id: p.entity('the network of this id', networkKind, 'list'),
    name: p.string('networks of exactly this name'),
    type: p.word('networks of this type', ['Isolated', 'Shared', 'L2']),
    traffictype: p.word('networks of this traffic type', trafficTypeNames),
    zoneid: p.entity('networks of this zone', zoneKind, 'list'),
    physicalnetworkid: p.entity('networks on this physical network', physicalNetworkKind, 'list'),
    networkofferingid: p.entity('networks of this offering', networkOfferingKind, 'list'),
    restartrequired: p.boolean('networks that need a restart, or do not'),
    canusefordeploy: p.boolean('networks that machines can be deployed in'),
    supportedservices: p.texts('networks that have all of these services'),
    issystem: p.boolean('networks of the cloud itself'),
    forvpc: p.boolean('networks that belong to a VPC'),
  },
  reply: reply.list(networkView),
  run: (context, params) =>
    list(context, params, {
      from: 'network t JOIN network_offering o ON o.id = t.network_offering_id',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.guest_type', params.type),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('t.physical_network_id', params.physicalnetworkid?.id),
        where.equal('t.network_offering_id', params.networkofferingid?.id),
        where.equal('t.restart_required', params.restartrequired),
        params.traffictype !== undefined && params.traffictype !== 'Guest' ? where.sql('FALSE') : null,
        params.canusefordeploy === false || params.issystem === true || params.forvpc === true ? where.sql('FALSE') : null,
        ...(params.supportedservices ?? []).map((service) =>
          where.sql('JSON_CONTAINS_PATH(o.services, ?, ?)', 'one', `$."${service.replace(/[^A-Za-z]/g, '')}"`),
        ),
      ],
      keyword: ['t.name', 't.display_text'],
      scope: { ...params, byId: params.id !== undefined },
      load: (ids) => loadNetworks(context.db, ids),
    }),
});
