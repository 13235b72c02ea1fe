import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { networkServiceProviders, physicalNetworks, zones } from '../entities.ts';
import { zoneKind } from '../kinds.ts';
import { VIRTUAL_ROUTER, virtualRouterServices } from '../providers.ts';
import { physicalNetworkShown } from '../sagas/shown.ts';
import { physicalNetworkView } from '../views.ts';
import { mustBeFreeVnets, readIsolationMethod, readVnets } from './physical-network-params.ts';

export const createPhysicalNetwork = command({
  name: 'createPhysicalNetwork',
  about: 'Creates a physical network in a zone, with the virtual router as its provider. Both are Disabled at first.',
  access: 'admin',
  event: { type: 'PHYSICAL.NETWORK.CREATE', text: 'creating physical network' },
  params: {
    zoneid: required(p.entity('zone of the physical network', zoneKind, 'operate')),
    name: required(p.string('its name')),
    isolationmethods: p.texts('how guest networks are kept apart: VXLAN unless given, or VLAN'),
    vlan: p.string('numbers that guest networks may have, such as 10000-10999'),
    broadcastdomainrange: p.word('how far a broadcast goes: ZONE', ['ZONE']),
    tags: p.texts('its tags'),
  },
  reply: reply.job(physicalNetworkView, { create: true }),
  run: (context, { zoneid, name, isolationmethods, vlan, broadcastdomainrange = 'ZONE', tags = [] }) => {
    const method = readIsolationMethod(isolationmethods);
    const vnets = vlan === undefined || vlan.trim() === '' ? null : readVnets(vlan, method);
    const id = newId('physicalNetwork');
    return context.db.transact(async (tx) => {
      const zone = await lock(tx, zones, { id: zoneid.id });
      if (!zone || zone.removedAt) throw new CloudError('NotFound', 'the zone has been removed meanwhile');
      if (await tx.existsBy(physicalNetworks, { zoneId: zone.id, name, removedAt: IsNull() }))
        throw new CloudError('InvalidParameter', `A physical network with the name ${name} exists already in the zone ${zone.name}`);
      if (vnets) await mustBeFreeVnets(tx, zone.id, vnets);
      const createdAt = new Date();
      await tx.insert(physicalNetworks, {
        id,
        zoneId: zone.id,
        name,
        state: 'Disabled',
        generation: 0,
        isolationMethods: [method],
        broadcastDomainRange: broadcastdomainrange,
        vnetStart: vnets?.start ?? null,
        vnetEnd: vnets?.end ?? null,
        tags: tags.length > 0 ? tags.join(',') : null,
        createdAt,
        removedAt: null,
      });
      await tx.insert(networkServiceProviders, {
        id: newId('networkServiceProvider'),
        physicalNetworkId: id,
        name: VIRTUAL_ROUTER,
        state: 'Disabled',
        generation: 0,
        services: [...virtualRouterServices],
        configured: false,
        createdAt,
        removedAt: null,
      });
      return { ...(await context.start(physicalNetworkShown, { id }, { instance: { type: 'PhysicalNetwork', id } }, tx)), id };
    });
  },
});
