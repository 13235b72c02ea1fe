import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { networkServiceProviders, physicalNetworks } from '../entities.ts';
import { physicalNetworkKind } from '../kinds.ts';
import { VIRTUAL_ROUTER, virtualRouterServices } from '../providers.ts';
import { providerShown } from '../sagas/shown.ts';
import { providerView } from '../views.ts';

export const addNetworkServiceProvider = command({
  name: 'addNetworkServiceProvider',
  about: 'Adds a provider of network services to a physical network. The virtual router is there from the beginning.',
  access: 'admin',
  event: { type: 'SERVICE.PROVIDER.CREATE', text: 'creating network service provider' },
  params: {
    physicalnetworkid: required(p.entity('the physical network', physicalNetworkKind, 'operate')),
    name: required(p.word('must be VirtualRouter', [VIRTUAL_ROUTER])),
  },
  reply: reply.job(providerView, { create: true }),
  run: (context, { physicalnetworkid: { id: physicalNetworkId }, name }) => {
    const id = newId('networkServiceProvider');
    return context.db.transact(async (tx) => {
      const network = await lock(tx, physicalNetworks, { id: physicalNetworkId });
      if (!network || network.removedAt) throw new CloudError('NotFound', 'the physical network has been removed meanwhile');
      if (await tx.existsBy(networkServiceProviders, { physicalNetworkId, name, removedAt: IsNull() }))
        throw new CloudError('InvalidParameter', `the physical network ${network.name} has the provider ${name} already`);
      await tx.insert(networkServiceProviders, {
        id,
        physicalNetworkId,
        name,
        state: 'Disabled',
        generation: 0,
        services: [...virtualRouterServices],
        configured: false,
        createdAt: new Date(),
        removedAt: null,
      });
      return { ...(await context.start(providerShown, { id }, { instance: { type: 'PhysicalNetworkServiceProvider', id } }, tx)), id };
    });
  },
});
