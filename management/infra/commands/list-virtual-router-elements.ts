import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { networkServiceProviderKind } from '../kinds.ts';
import { VIRTUAL_ROUTER } from '../providers.ts';
import { loadProviders, routerElementView } from '../views.ts';

export const listVirtualRouterElements = command({
  name: 'listVirtualRouterElements',
  about: 'Lists which physical networks may have virtual routers.',
  access: 'domainAdmin',
  params: {
    ...pageParams,
    id: p.entity('only this element', networkServiceProviderKind, 'list'),
    nspid: p.entity('only the element of this network service provider', networkServiceProviderKind, 'list'),
    enabled: p.boolean('only elements that may make routers, or only those that may not'),
  },
  reply: reply.list(routerElementView),
  run: (context, params) =>
    list(context, params, {
      from: 'network_service_provider t',
      where: [
        where.sql('t.removed_at IS NULL AND t.name = ?', VIRTUAL_ROUTER),
        where.equal('t.id', params.id?.id),
        where.equal('t.id', params.nspid?.id),
        where.equal('t.configured', params.enabled),
      ],
      keyword: ['t.name'],
      load: (ids) => loadProviders(context, ids),
    }),
});
