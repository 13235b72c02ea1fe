import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { physicalNetworkKind } from '../kinds.ts';
import { loadProviders, providerView } from '../views.ts';

export const listNetworkServiceProviders = command({
  name: 'listNetworkServiceProviders',
  about: 'Lists providers of network services.',
  access: 'admin',
  params: {
    ...pageParams,
    name: p.string('only providers of this name'),
    physicalnetworkid: p.entity('only providers of this physical network', physicalNetworkKind, 'list'),
    state: p.string('only providers in this state'),
  },
  reply: reply.list(providerView),
  run: (context, params) =>
    list(context, params, {
      from: 'network_service_provider t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.name', params.name),
        where.equal('t.physical_network_id', params.physicalnetworkid?.id),
        where.equal('t.state', params.state),
      ],
      keyword: ['t.name'],
      load: (ids) => loadProviders(context, ids),
    }),
});
