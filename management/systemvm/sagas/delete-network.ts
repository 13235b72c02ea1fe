import { s } from '../../../protocol/schema.ts';
import { networkStates } from '../../../protocol/states/network.ts';
import { move } from '../../core/db.ts';
import { saga } from '../../core/saga.ts';
import { freePublicIpsOfNetwork, mustBeUnused, networks } from '../../network/index.ts';
import { mustFindNetwork, shutdownNetwork } from '../networks.ts';

export const deleteNetworkSaga = saga({
  name: 'network.delete',
  version: 1,
  input: s.object({ networkId: s.id('network') }),
  run: async (run, { networkId }) => {
    await run.step('unused', async (tx) => {
      await mustBeUnused(tx, await mustFindNetwork(tx, networkId));
      return null;
    });
    await shutdownNetwork(run, networkId, { onlyIdle: false });
    await run.step('deleted', async (tx) => {
      const network = await mustFindNetwork(tx, networkId);
      await mustBeUnused(tx, network);
      await freePublicIpsOfNetwork(tx, networkId);
      await move(tx, networks, networkStates, network, 'destroy', { removedAt: new Date() });
      return null;
    });
    return null;
  },
});
