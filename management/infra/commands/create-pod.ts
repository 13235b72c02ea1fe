import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { addPrivateAddresses } from '../addresses.ts';
import { podRanges, pods, zones } from '../entities.ts';
import { zoneKind } from '../kinds.ts';
import { checkRange, mustBeFree, mustBeOwnNetwork } from '../ranges.ts';
import { loadPod, podView } from '../views.ts';
import { allocationStateParam } from './zone-params.ts';

export const createPod = command({
  name: 'createPod',
  about: 'Creates a pod with the management addresses that its system VMs may take.',
  access: 'admin',
  event: { type: 'POD.CREATE', text: 'creating pod', resource: 'Pod' },
  params: {
    zoneid: required(p.entity('zone of the pod', zoneKind, 'operate')),
    name: required(p.string('name of the pod')),
    gateway: p.ip4('gateway of its management network'),
    netmask: p.ip4('netmask of its management network'),
    startip: p.ip4('first address for system VMs'),
    endip: p.ip4('last address for system VMs; to the end of the network unless given'),
    allocationstate: allocationStateParam('Enabled unless given'),
  },
  reply: reply.one(podView),
  run: async (context, { zoneid, name, gateway, netmask, startip, endip, allocationstate = 'Enabled' }) => {
    if (gateway === undefined || netmask === undefined || startip === undefined)
      throw new CloudError('InvalidParameter', 'a pod needs a gateway, a netmask and a startip for its management network');
    const range = checkRange({ gateway, netmask, startIp: startip, endIp: endip });
    const id = newId('pod');
    await context.db.transact(async (tx) => {
      const zone = await lock(tx, zones, { id: zoneid.id });
      if (!zone || zone.removedAt) throw new CloudError('NotFound', 'the zone has been removed meanwhile');
      if (await tx.existsBy(pods, { zoneId: zone.id, name, removedAt: IsNull() }))
        throw new CloudError('InvalidParameter', `A pod with the name ${name} exists already in the zone ${zone.name}`);
      await mustBeOwnNetwork(tx, zone.id, range.cidr);
      await mustBeFree(tx, zone, range);
      const createdAt = new Date();
      await tx.insert(pods, {
        id,
        zoneId: zone.id,
        name,
        gateway,
        netmask,
        allocationState: allocationstate,
        generation: 0,
        createdAt,
        removedAt: null,
      });
      await tx.insert(podRanges, {
        id: newId('podRange'),
        podId: id,
        zoneId: zone.id,
        startIp: range.startIp,
        endIp: range.endIp,
        createdAt,
      });
      await addPrivateAddresses(tx, { kind: 'management', zoneId: zone.id, scopeId: id }, range);
    });
    context.wake('zone');
    return loadPod(context, id);
  },
});
