import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { mustBeUnused, networkKind } from '../../network/index.ts';
import { deleteNetworkSaga } from '../sagas/delete-network.ts';
import { restartNetworkSaga } from '../sagas/restart-network.ts';

export const deleteNetwork = command({
  name: 'deleteNetwork',
  about: 'Deletes a network in which no virtual machine is any more.',
  access: 'user',
  event: { type: 'NETWORK.DELETE', text: 'deleting network', resource: 'Network' },
  params: { id: required(p.entity('the network', networkKind, 'operate')) },
  reply: reply.job(null),
  run: async (context, { id: network }) => {
    await mustBeUnused(context.db.read, network);
    return context.start(deleteNetworkSaga, { networkId: network.id }, { instance: { type: 'Network', id: network.id } });
  },
});

export const restartNetwork = command({
  name: 'restartNetwork',
  about: "Sends a network's router its whole configuration again, or makes the router anew.",
  access: 'user',
  event: { type: 'NETWORK.RESTART', text: 'restarting network', resource: 'Network' },
  params: {
    id: required(p.entity('the network', networkKind, 'operate')),
    cleanup: p.boolean('make the router anew'),
  },
  reply: reply.job(null),
  run: (context, { id: network, cleanup = false }) =>
    context.start(restartNetworkSaga, { networkId: network.id, cleanup }, { instance: { type: 'Network', id: network.id } }),
});
