import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { removePrivateAddresses } from '../addresses.ts';
import { ipRanges } from '../entities.ts';
import { ipRangeKind } from '../kinds.ts';
import { removed } from '../sagas/shown.ts';

export const deleteStorageNetworkIpRange = command({
  name: 'deleteStorageNetworkIpRange',
  about: 'Removes a range of storage addresses, when no system VM has one of them.',
  access: 'admin',
  event: { type: 'STORAGE.IP.RANGE.DELETE', text: 'deleting storage network IP range' },
  params: { id: required(p.entity('the range', ipRangeKind, 'operate')) },
  reply: reply.job(null),
  run: (context, { id: { id } }) =>
    context.db.transact(async (tx) => {
      const range = await lock(tx, ipRanges, { id });
      if (!range || range.removedAt) throw new CloudError('NotFound', 'the range has been removed meanwhile');
      if (range.kind !== 'storage')
        throw new CloudError('InvalidParameter', 'this is a range of public addresses; remove it with deleteVlanIpRange');
      await removePrivateAddresses(tx, { kind: 'storage', scopeId: id }, range);
      await tx.update(ipRanges, { id }, { removedAt: new Date() });
      return context.start(removed, { id }, { instance: { type: 'StorageNetworkIpRange', id } }, tx);
    }),
});
