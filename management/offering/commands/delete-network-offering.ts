import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { networkOfferings } from '../entities.ts';
import { networkOfferingKind } from '../visibility.ts';

export const deleteNetworkOffering = command({
  name: 'deleteNetworkOffering',
  about: 'Removes a network offering that no network uses.',
  access: 'admin',
  event: { type: 'NETWORK.OFFERING.DELETE', text: 'deleting network offering', resource: 'NetworkOffering' },
  params: { id: required(p.entity('the network offering', networkOfferingKind, 'operate')) },
  reply: reply.success(),
  run: ({ db }, { id: { id, isDefault } }) =>
    db.transact(async (tx) => {
      if (isDefault) throw new CloudError('InvalidParameter', 'a default network offering cannot be deleted; it can be disabled');
      await lock(tx, networkOfferings, { id });
      const [used] = await tx.query('SELECT COUNT(*) AS count FROM network WHERE network_offering_id = ? AND removed_at IS NULL', [id]);
      if (Number(used.count) > 0)
        throw new CloudError(
          'InUse',
          `the network offering is used by ${used.count} network(s); disable it to keep new ones from using it`,
        );
      await tx.update(networkOfferings, { id }, { removedAt: new Date() });
    }),
});
