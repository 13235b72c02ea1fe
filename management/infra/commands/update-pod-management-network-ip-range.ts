import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { movePrivateAddresses } from '../addresses.ts';
import { podRanges, pods, zones } from '../entities.ts';
import { podKind } from '../kinds.ts';
import { checkRange, mustBeFree } from '../ranges.ts';
import { removed } from '../sagas/shown.ts';

export const updatePodManagementNetworkIpRange = command({
  name: 'updatePodManagementNetworkIpRange',
  about: 'Moves the ends of a range of management addresses of a pod; addresses that system VMs have must stay in it.',
  access: 'admin',
  event: { type: 'MANAGEMENT.IP.RANGE.UPDATE', text: 'updating management network IP range' },
  params: {
    podid: required(p.entity('the pod', podKind, 'operate')),
    currentstartip: required(p.ip4('first address of the range now')),
    currentendip: required(p.ip4('last address of the range now')),
    newstartip: p.ip4('first address from now on'),
    newendip: p.ip4('last address from now on'),
  },
  reply: reply.job(null),
  run: (context, { podid: { id, zoneId }, currentstartip, currentendip, newstartip, newendip }) =>
    context.db.transact(async (tx) => {
      const zone = await lock(tx, zones, { id: zoneId });
      const pod = await lock(tx, pods, { id });
      if (!zone || !pod || pod.removedAt) throw new CloudError('NotFound', 'the pod has been removed meanwhile');
      if (newstartip === undefined && newendip === undefined) throw new CloudError('InvalidParameter', 'give newstartip, newendip or both');
      const range = await tx.findOneBy(podRanges, { podId: id, startIp: currentstartip, endIp: currentendip });
      if (!range) throw new CloudError('InvalidParameter', `the pod ${pod.name} has no range from ${currentstartip} to ${currentendip}`);
      const { gateway, netmask } = pod;
      const wanted = checkRange({ gateway, netmask, startIp: newstartip ?? range.startIp, endIp: newendip ?? range.endIp });
      await mustBeFree(tx, zone, wanted, range.id);
      await movePrivateAddresses(tx, { kind: 'management', zoneId, scopeId: id }, range, wanted);
      await tx.update(podRanges, { id: range.id }, { startIp: wanted.startIp, endIp: wanted.endIp });
      return context.start(removed, { id: range.id }, { instance: { type: 'Pod', id } }, tx);
    }),
});
