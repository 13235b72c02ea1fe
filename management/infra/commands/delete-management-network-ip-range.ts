import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { removePrivateAddresses } from '../addresses.ts';
import { podRanges, pods } from '../entities.ts';
import { podKind } from '../kinds.ts';
import { removed } from '../sagas/shown.ts';

export const deleteManagementNetworkIpRange = command({
  name: 'deleteManagementNetworkIpRange',
  about: 'Takes a range of management addresses from a pod, when no system VM has one of them.',
  access: 'admin',
  event: { type: 'MANAGEMENT.IP.RANGE.DELETE', text: 'deleting management network IP range' },
  params: {
    podid: required(p.entity('the pod', podKind, 'operate')),
    startip: required(p.ip4('first address of the range')),
    endip: required(p.ip4('last address of the range')),
    vlan: required(p.word('must be untagged', ['untagged'])),
  },
  reply: reply.job(null),
  run: (context, { podid: { id, name }, startip, endip }) =>
    context.db.transact(async (tx) => {
      await lock(tx, pods, { id });
      const ranges = await tx.findBy(podRanges, { podId: id });
      const range = ranges.find(({ startIp, endIp }) => startIp === startip && endIp === endip);
      if (!range) throw new CloudError('InvalidParameter', `the pod ${name} has no range from ${startip} to ${endip}`);
      if (ranges.length === 1) throw new CloudError('InvalidParameter', `this is the last range of the pod ${name}; system VMs need one`);
      await removePrivateAddresses(tx, { kind: 'management', scopeId: id }, range);
      await tx.delete(podRanges, { id: range.id });
      return context.start(removed, { id: range.id }, { instance: { type: 'Pod', id } }, tx);
    }),
});
