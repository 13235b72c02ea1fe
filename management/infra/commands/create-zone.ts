import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { zones } from '../entities.ts';
import { takeTurn } from '../turns.ts';
import { loadZone, zoneView } from '../views.ts';
import { allocationStateParam, mustBeGuestCidr, networkDomainPattern } from './zone-params.ts';

/** What guest networks are made from where nobody says otherwise. */
const GUEST_CIDR = '10.1.1.0/24';

export const createZone = command({
  name: 'createZone',
  about: 'Creates a zone. It stays Disabled until it has all its parts.',
  access: 'admin',
  event: { type: 'ZONE.CREATE', text: 'creating zone', resource: 'Zone' },
  params: {
    name: required(p.string('name of the zone')),
    networktype: required(p.word('must be Advanced', ['Advanced'])),
    dns1: required(p.ip4('first name server for guests')),
    dns2: p.ip4('second name server for guests'),
    internaldns1: required(p.ip4('first name server for system VMs')),
    internaldns2: p.ip4('second name server for system VMs'),
    guestcidraddress: p.cidr4('from which guest networks are made; 10.1.1.0/24 unless given'),
    domain: p.string('DNS suffix of guests', { match: networkDomainPattern }),
    localstorageenabled: p.boolean('whether volumes may be on storage that one host has'),
    allocationstate: allocationStateParam('Enabled: the zone is Enabled by itself when it has all its parts; Disabled unless given'),
  },
  reply: reply.one(zoneView),
  run: async (context, params) => {
    const guestCidr = mustBeGuestCidr(params.guestcidraddress ?? GUEST_CIDR);
    const id = newId('zone');
    await context.db.transact(async (tx) => {
      await takeTurn(tx, 'zone');
      if (await tx.existsBy(zones, { name: params.name, removedAt: IsNull() }))
        throw new CloudError('InvalidParameter', `A zone with the name ${params.name} exists already; give this one another name`);
      await tx.insert(zones, {
        id,
        name: params.name,
        description: null,
        dns1: params.dns1,
        dns2: params.dns2 ?? null,
        internalDns1: params.internaldns1,
        internalDns2: params.internaldns2 ?? null,
        networkDomain: params.domain ?? null,
        guestCidr,
        networkType: params.networktype,
        allocationState: 'Disabled',
        enableWhenReady: params.allocationstate === 'Enabled',
        generation: 0,
        localStorage: params.localstorageenabled ?? false,
        details: {},
        createdAt: new Date(),
        removedAt: null,
      });
    });
    return loadZone(context, id);
  },
});
