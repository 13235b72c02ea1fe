import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { rebootMachine } from '../../machine/index.ts';
import { vmResult } from '../results.ts';

export const rebootVmSaga = saga({
  name: 'vm.reboot',
  version: 1,
  input: s.object({ id: s.id('machine'), force: s.boolean() }),
  run: async (run, { id, force }) => {
    await rebootMachine(run, { machineId: id, force });
    return { id };
  },
  result: (context, { id }) => vmResult(context, id),
});
