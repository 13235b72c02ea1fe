import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { networkServiceProviders } from '../entities.ts';
import { networkServiceProviderKind } from '../kinds.ts';
import { routerElementShown } from '../sagas/shown.ts';
import { routerElementView } from '../views.ts';

export const configureVirtualRouterElement = command({
  name: 'configureVirtualRouterElement',
  about: 'Says whether a physical network may have virtual routers. Its provider has to be enabled too.',
  access: 'domainAdmin',
  event: { type: 'NETWORK.ELEMENT.CONFIGURE', text: 'configuring virtual router element' },
  params: {
    id: required(p.entity('the element, as listVirtualRouterElements shows it', networkServiceProviderKind, 'operate')),
    enabled: required(p.boolean('whether it may make routers')),
  },
  reply: reply.job(routerElementView),
  run: (context, { id: { id }, enabled }) =>
    context.db.transact(async (tx) => {
      const row = await lock(tx, networkServiceProviders, { id });
      if (!row || row.removedAt) throw new CloudError('NotFound', 'the element has been removed meanwhile');
      if (!enabled && row.state === 'Enabled')
        throw new CloudError('WrongState', `the provider ${row.name} is Enabled; disable it first with updateNetworkServiceProvider`);
      await tx.update(networkServiceProviders, { id }, { configured: enabled });
      return context.start(routerElementShown, { id }, { instance: { type: 'VirtualRouterProvider', id } }, tx);
    }),
});
