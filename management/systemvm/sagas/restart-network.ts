import { CloudError } from '../../../protocol/errors.ts';
import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { networks, touchNetwork } from '../../network/index.ts';
import { createSystemVm } from '../create.ts';
import { destroySystemVm, startSystemVm } from '../life.ts';
import { applyNetwork, ensureNetwork, mustFindNetwork, needsRouter, routersOf } from '../networks.ts';

/** Sends the router everything again; with `cleanup` the router is made anew. */
export const restartNetworkSaga = saga({
  name: 'network.restart',
  version: 1,
  input: s.object({ networkId: s.id('network'), cleanup: s.boolean() }),
  run: async (run, { networkId, cleanup }) => {
    const before = await run.step('network', async (tx) => {
      const network = await mustFindNetwork(tx, networkId);
      if (!['Implemented', 'Allocated'].includes(network.state))
        throw new CloudError('WrongState', `the network is ${network.state}; try again when it is Implemented`);
      await touchNetwork(tx, networkId);
      return { state: network.state, routerIds: (await routersOf(tx, networkId)).map(({ id }) => id) };
    });
    if (before.state === 'Allocated') await ensureNetwork(run, networkId);
    else if (cleanup) {
      for (const id of before.routerIds) await run.part(`old router ${id}`, (part) => destroySystemVm(part, id));
      const routerId = await run.step('new router', async (tx) => {
        const network = await mustFindNetwork(tx, networkId);
        // The reconciler may have been quicker.
        const known = (await routersOf(tx, networkId)).find(({ id }) => !before.routerIds.includes(id));
        if (known || !(await needsRouter(tx, network))) return null;
        return createSystemVm(tx, { kind: 'router', zoneId: network.zoneId, network });
      });
      if (routerId) await run.kept('start', (part) => startSystemVm(part, routerId));
    } else await applyNetwork(run, networkId);
    await run.step('restarted', async (tx) => {
      await tx.update(networks, { id: networkId }, { restartRequired: false });
      return null;
    });
    return null;
  },
});
