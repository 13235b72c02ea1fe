import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { mustBeEmpty } from '../blockers.ts';
import { networkServiceProviders } from '../entities.ts';
import { networkServiceProviderKind } from '../kinds.ts';
import { removed } from '../sagas/shown.ts';

export const deleteNetworkServiceProvider = command({
  name: 'deleteNetworkServiceProvider',
  about: 'Removes a provider of network services from a physical network without guest networks.',
  access: 'admin',
  event: { type: 'SERVICE.PROVIDER.DELETE', text: 'deleting network service provider' },
  params: { id: required(p.entity('the provider', networkServiceProviderKind, 'operate')) },
  reply: reply.job(null),
  run: (context, { id: { id } }) =>
    context.db.transact(async (tx) => {
      const row = await lock(tx, networkServiceProviders, { id });
      if (!row || row.removedAt) throw new CloudError('NotFound', 'the provider has been removed meanwhile');
      await mustBeEmpty(tx, `the provider ${row.name}`, [
        {
          one: 'guest network',
          many: 'guest networks',
          sql: 'SELECT COUNT(*) AS n FROM network WHERE physical_network_id = ? AND removed_at IS NULL',
          values: [row.physicalNetworkId],
        },
      ]);
      await tx.update(networkServiceProviders, { id }, { removedAt: new Date() });
      return context.start(removed, { id }, { instance: { type: 'PhysicalNetworkServiceProvider', id } }, tx);
    }),
});
