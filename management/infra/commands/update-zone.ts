import { IsNull, Not } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { cidrOf, cidrsOverlap } from '../../../protocol/ip4.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { ipRanges, pods, type ZoneRow, zones } from '../entities.ts';
import { zoneKind } from '../kinds.ts';
import { moveAllocation } from '../states.ts';
import { takeTurn } from '../turns.ts';
import { loadZone, zoneView } from '../views.ts';
import { missingPartsOf } from '../zone-parts.ts';
import { allocationStateParam, mustBeGuestCidr, networkDomainPattern } from './zone-params.ts';

export const updateZone = command({
  name: 'updateZone',
  about: 'Changes a zone, or enables and disables it. Enabling names the parts that are missing.',
  access: 'admin',
  event: { type: 'ZONE.EDIT', text: 'updating zone', resource: 'Zone' },
  params: {
    id: required(p.entity('the zone', zoneKind, 'operate')),
    name: p.string('new name'),
    dns1: p.ip4('first name server for guests'),
    dns2: p.ip4('second name server for guests'),
    internaldns1: p.ip4('first name server for system VMs'),
    internaldns2: p.ip4('second name server for system VMs'),
    guestcidraddress: p.cidr4('from which guest networks are made'),
    domain: p.string('DNS suffix of guests', { match: networkDomainPattern }),
    localstorageenabled: p.boolean('whether volumes may be on storage that one host has'),
    allocationstate: allocationStateParam('Enabled or Disabled'),
    details: p.maps('details, such as enableSecondaryStorageVm', ['key', 'value']),
  },
  reply: reply.one(zoneView),
  run: async (context, { id: { id }, ...params }) => {
    await context.db.transact(async (tx) => {
      await takeTurn(tx, 'zone');
      const zone = await lock(tx, zones, { id });
      if (!zone || zone.removedAt) throw new CloudError('NotFound', 'the zone has been removed meanwhile');
      if (params.name !== undefined && (await tx.existsBy(zones, { name: params.name, id: Not(id), removedAt: IsNull() })))
        throw new CloudError('InvalidParameter', `A zone with the name ${params.name} exists already; give this one another name`);
      const guestCidr = params.guestcidraddress === undefined ? zone.guestCidr : mustBeGuestCidr(params.guestcidraddress);
      if (guestCidr !== zone.guestCidr) {
        const networks = [
          ...(await tx.findBy(pods, { zoneId: id, removedAt: IsNull() })),
          ...(await tx.findBy(ipRanges, { zoneId: id, removedAt: IsNull() })),
        ];
        const clash = networks.find(({ gateway, netmask }) => cidrsOverlap(cidrOf(gateway, netmask), guestCidr));
        if (clash)
          throw new CloudError(
            'InvalidParameter',
            `guestcidraddress ${guestCidr} overlaps ${cidrOf(clash.gateway, clash.netmask)}, which is in use in this zone`,
          );
      }
      const details = { ...zone.details };
      for (const { key, value } of params.details ?? []) if (key !== undefined) details[key] = value ?? '';
      const changes: Partial<ZoneRow> = {
        name: params.name ?? zone.name,
        dns1: params.dns1 ?? zone.dns1,
        dns2: params.dns2 ?? zone.dns2,
        internalDns1: params.internaldns1 ?? zone.internalDns1,
        internalDns2: params.internaldns2 ?? zone.internalDns2,
        networkDomain: params.domain ?? zone.networkDomain,
        guestCidr,
        localStorage: params.localstorageenabled ?? zone.localStorage,
        details,
      };
      await tx.update(zones, { id }, changes);
      if (params.allocationstate === undefined) return;
      if (params.allocationstate === 'Enabled' && zone.allocationState === 'Disabled') {
        const missing = (await missingPartsOf(tx, [id])).get(id) ?? [];
        if (missing.length > 0)
          throw new CloudError('WrongState', `the zone ${zone.name} cannot be enabled yet; it lacks ${missing.join('; ')}`);
      }
      await moveAllocation(tx, zones, zone, params.allocationstate);
      // The operator has decided now; what was wished for when the zone was made no longer counts.
      await tx.update(zones, { id }, { enableWhenReady: false });
    });
    context.wake('zone');
    return loadZone(context, id);
  },
});
