import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { shutdownNetwork } from '../networks.ts';

/** Garbage collection of a network that nobody uses. */
export const shutdownNetworkSaga = saga({
  name: 'network.shutdown',
  version: 1,
  input: s.object({ networkId: s.id('network') }),
  run: async (run, { networkId }) => {
    await shutdownNetwork(run, networkId, { onlyIdle: true });
    return null;
  },
});
