import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { addPrivateAddresses, movePrivateAddresses, removePrivateAddresses } from '../addresses.ts';
import { ipRanges, zones } from '../entities.ts';
import { ipRangeKind } from '../kinds.ts';
import { checkRange, mustBeFree } from '../ranges.ts';
import { storageRangeShown } from '../sagas/shown.ts';
import { storageRangeView } from '../views.ts';

export const updateStorageNetworkIpRange = command({
  name: 'updateStorageNetworkIpRange',
  about: 'Moves the ends of a range of storage addresses, or changes its netmask while no system VM has one of them.',
  access: 'admin',
  event: { type: 'STORAGE.IP.RANGE.UPDATE', text: 'updating storage network IP range' },
  params: {
    id: required(p.entity('the range', ipRangeKind, 'operate')),
    netmask: p.ip4('netmask of the storage network'),
    startip: p.ip4('first address'),
    endip: p.ip4('last address'),
  },
  reply: reply.job(storageRangeView),
  run: (context, { id: { id, zoneId }, netmask, startip, endip }) =>
    context.db.transact(async (tx) => {
      const zone = await lock(tx, zones, { id: zoneId });
      const range = await lock(tx, ipRanges, { id });
      if (!zone || !range || range.removedAt) throw new CloudError('NotFound', 'the range has been removed meanwhile');
      if (range.kind !== 'storage')
        throw new CloudError('InvalidParameter', 'this is a range of public addresses; change it with updateVlanIpRange');
      const wanted = checkRange({
        gateway: range.gateway,
        netmask: netmask ?? range.netmask,
        startIp: startip ?? range.startIp,
        endIp: endip ?? range.endIp,
      });
      await mustBeFree(tx, zone, wanted, id);
      const scope = { kind: 'storage' as const, zoneId, scopeId: id };
      if (wanted.netmask === range.netmask) await movePrivateAddresses(tx, scope, range, wanted);
      else {
        await removePrivateAddresses(tx, scope, range);
        await addPrivateAddresses(tx, scope, wanted);
      }
      await tx.update(ipRanges, { id }, { netmask: wanted.netmask, startIp: wanted.startIp, endIp: wanted.endIp });
      return context.start(storageRangeShown, { id }, { instance: { type: 'StorageNetworkIpRange', id } }, tx);
    }),
});
