import { s } from '../../../protocol/schema.ts';
import { machineStates } from '../../../protocol/states/machine.ts';
import { move } from '../../core/db.ts';
import { saga } from '../../core/saga.ts';
import { expungeMachine, machines, mustFind, stopMachine } from '../../machine/index.ts';
import { vms } from '../entities.ts';
import { forgetGuest, goneForGood, vmResult } from '../results.ts';

/** Marks a guest for removal; it can be recovered until it is expunged, which `expunge` does at once. */
export const destroyVmSaga = saga({
  name: 'vm.destroy',
  version: 1,
  input: s.object({ id: s.id('machine'), expunge: s.boolean() }),
  run: async (run, { id, expunge }) => {
    const state = await run.step('state', async (tx) => (await mustFind(tx, id)).state);
    if (state === 'Running' || state === 'Stopping') await run.part('stop', (part) => stopMachine(part, { machineId: id, force: true }));
    if (!['Destroyed', 'Expunging'].includes(state)) {
      await run.step('destroyed', async (tx) => {
        const machine = await mustFind(tx, id);
        await move(tx, machines, machineStates, machine, 'destroy');
        await tx.update(vms, { id }, { destroyedAt: new Date() });
        return null;
      });
    }
    // A guest that never started well is of no use to anybody: it goes at once.
    if (expunge || state === 'Error' || state === 'Expunging') {
      await expungeMachine(run, { machineId: id, from: goneForGood, settle: (tx) => forgetGuest(tx, id) });
    }
    return { id };
  },
  result: (context, { id }) => vmResult(context, id),
});
