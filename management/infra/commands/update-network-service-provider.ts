import { CloudError } from '../../../protocol/errors.ts';
import { allocationStates } from '../../../protocol/states/host.ts';
import { command, reply } from '../../core/command.ts';
import { lock, move } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { networkServiceProviders } from '../entities.ts';
import { networkServiceProviderKind } from '../kinds.ts';
import { providerShown } from '../sagas/shown.ts';
import { providerView } from '../views.ts';
import { allocationStateParam } from './zone-params.ts';

export const updateNetworkServiceProvider = command({
  name: 'updateNetworkServiceProvider',
  about: 'Enables or disables a provider of network services.',
  access: 'admin',
  event: { type: 'SERVICE.PROVIDER.UPDATE', text: 'updating network service provider' },
  params: {
    id: required(p.entity('the provider', networkServiceProviderKind, 'operate')),
    state: allocationStateParam('Enabled or Disabled'),
  },
  reply: reply.job(providerView),
  run: (context, { id: { id }, state }) =>
    context.db.transact(async (tx) => {
      const row = await lock(tx, networkServiceProviders, { id });
      if (!row || row.removedAt) throw new CloudError('NotFound', 'the provider has been removed meanwhile');
      // Whoever enables the provider wants its routers.
      if (state !== undefined && state !== row.state)
        await move(tx, networkServiceProviders, allocationStates, row, state === 'Enabled' ? 'enable' : 'disable', {
          configured: row.configured || state === 'Enabled',
        });
      return context.start(providerShown, { id }, { instance: { type: 'PhysicalNetworkServiceProvider', id } }, tx);
    }),
});
