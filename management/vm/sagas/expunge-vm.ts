import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { expungeMachine } from '../../machine/index.ts';
import { forgetGuest, goneForGood } from '../results.ts';

export const expungeVmSaga = saga({
  name: 'vm.expunge',
  version: 1,
  input: s.object({ id: s.id('machine') }),
  run: async (run, { id }) => {
    await expungeMachine(run, { machineId: id, from: goneForGood, settle: (tx) => forgetGuest(tx, id) });
    return null;
  },
});
