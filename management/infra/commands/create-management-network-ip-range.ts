import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { addPrivateAddresses } from '../addresses.ts';
import { podRanges, pods, zones } from '../entities.ts';
import { podKind } from '../kinds.ts';
import { checkRange, mustBeFree } from '../ranges.ts';
import { podShown } from '../sagas/shown.ts';
import { podView } from '../views.ts';

export const createManagementNetworkIpRange = command({
  name: 'createManagementNetworkIpRange',
  about: 'Adds a range of management addresses to a pod, for its system VMs.',
  access: 'admin',
  event: { type: 'MANAGEMENT.IP.RANGE.CREATE', text: 'creating management network IP range' },
  params: {
    podid: required(p.entity('the pod', podKind, 'operate')),
    gateway: required(p.ip4("the pod's gateway")),
    netmask: required(p.ip4("the pod's netmask")),
    startip: required(p.ip4('first address')),
    endip: p.ip4('last address; to the end of the network unless given'),
  },
  reply: reply.job(podView),
  run: (context, { podid: { id, zoneId }, gateway, netmask, startip, endip }) => {
    const range = checkRange({ gateway, netmask, startIp: startip, endIp: endip });
    return context.db.transact(async (tx) => {
      const zone = await lock(tx, zones, { id: zoneId });
      const pod = await lock(tx, pods, { id });
      if (!zone || !pod || pod.removedAt) throw new CloudError('NotFound', 'the pod has been removed meanwhile');
      if (pod.gateway !== gateway || pod.netmask !== netmask)
        throw new CloudError(
          'InvalidParameter',
          `all ranges of the pod ${pod.name} have its gateway ${pod.gateway} and netmask ${pod.netmask}`,
        );
      await mustBeFree(tx, zone, range);
      await tx.insert(podRanges, {
        id: newId('podRange'),
        podId: id,
        zoneId,
        startIp: range.startIp,
        endIp: range.endIp,
        createdAt: new Date(),
      });
      await addPrivateAddresses(tx, { kind: 'management', zoneId, scopeId: id }, range);
      return context.start(podShown, { id }, { instance: { type: 'Pod', id } }, tx);
    });
  },
});
