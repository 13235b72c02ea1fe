import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { networkServiceNames } from '../entities.ts';
import { loadNetworkOfferings, networkOfferingView } from '../views.ts';
import { networkOfferingKind } from '../visibility.ts';

export const listNetworkOfferings = command({
  name: 'listNetworkOfferings',
  about: 'Lists network offerings that the caller may use.',
  access: 'user',
  params: {
    ...pageParams,
    id: p.entity('only this network offering', networkOfferingKind, 'list'),
    name: p.string('only network offerings of this name'),
    displaytext: p.string('only network offerings of this display text'),
    guestiptype: p.word('only those for networks of this type', ['Isolated', 'Shared', 'L2']),
    traffictype: p.string('only those for this traffic'),
    state: p.word('only those in this state', ['Enabled', 'Disabled']),
    availability: p.word('only those of this availability', ['Required', 'Optional', 'Unavailable']),
    isdefault: p.boolean('only those that the cloud was made with, or only the others'),
    specifyvlan: p.boolean('only those whose networks get their number by hand, or only the others'),
    specifyipranges: p.boolean('only those whose networks get address ranges, or only the others'),
    forvpc: p.boolean('only those for tiers of a VPC, or only the others'),
    sourcenatsupported: p.boolean('only those with source NAT, or only the others'),
    supportedservices: p.texts('only those that have all these services'),
  },
  reply: reply.list(networkOfferingView),
  run: (context, params) =>
    list(context, params, {
      from: 'network_offering t',
      where: [
        where.sql('t.removed_at IS NULL'),
        isRootAdmin(context.caller) ? null : where.equal('t.state', 'Enabled'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.display_text', params.displaytext),
        where.equal('t.guest_type', params.guestiptype),
        params.traffictype === undefined ? null : where.sql('LOWER(t.traffic_type) = ?', params.traffictype.toLowerCase()),
        where.equal('t.state', params.state),
        where.equal('t.availability', params.availability),
        where.equal('t.is_default', params.isdefault),
        where.equal('t.specify_vlan', params.specifyvlan),
        where.equal('t.specify_ip_ranges', params.specifyipranges),
        where.equal('t.for_vpc', params.forvpc),
        params.sourcenatsupported === undefined ? null : has('SourceNat', params.sourcenatsupported),
        ...(params.supportedservices ?? []).map((wanted) => {
          const name = networkServiceNames.find((each) => each.toLowerCase() === wanted.toLowerCase());
          return name ? has(name, true) : where.sql('FALSE');
        }),
      ],
      keyword: ['t.name', 't.display_text'],
      load: (ids) => loadNetworkOfferings(context.db, ids),
    }),
});

const has = (service: (typeof networkServiceNames)[number], wanted: boolean) =>
  where.sql(`${wanted ? '' : 'NOT '}JSON_CONTAINS_PATH(t.services, 'one', ?)`, `$.${service}`);
