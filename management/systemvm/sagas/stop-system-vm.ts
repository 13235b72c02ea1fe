import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { stopMachine } from '../../machine/index.ts';
import { systemVms } from '../entities.ts';
import { systemVmResult } from '../views.ts';

export const stopSystemVmSaga = saga({
  name: 'systemVm.stop',
  version: 1,
  input: s.object({ id: s.id('machine'), force: s.boolean() }),
  run: async (run, { id, force }) => {
    await run.step(
      'keep',
      async (tx) => {
        await tx.update(systemVms, { id }, { keepStopped: true });
        return null;
      },
      (tx) => tx.update(systemVms, { id }, { keepStopped: false }),
    );
    await stopMachine(run, { machineId: id, force });
    return { id };
  },
  result: (context, { id }) => systemVmResult(context, id),
});
