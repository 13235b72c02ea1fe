import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { stopMachine } from '../../machine/index.ts';
import { systemVms } from '../entities.ts';
import { startSystemVm } from '../life.ts';
import { systemVmResult } from '../views.ts';

/** A system VM that boots anew joins anew, so a reboot is a stop and a start. */
export const rebootSystemVmSaga = saga({
  name: 'systemVm.reboot',
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
    await run.part('start', (part) => startSystemVm(part, id, 'operator'));
    return { id };
  },
  result: (context, { id }) => systemVmResult(context, id),
});
