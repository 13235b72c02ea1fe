import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { stopMachine } from '../../machine/index.ts';
import { vmResult } from '../results.ts';

export const stopVmSaga = saga({
  name: 'vm.stop',
  version: 1,
  input: s.object({ id: s.id('machine'), force: s.boolean() }),
  run: async (run, { id, force }) => {
    await stopMachine(run, { machineId: id, force });
    return { id };
  },
  result: (context, { id }) => vmResult(context, id),
});
