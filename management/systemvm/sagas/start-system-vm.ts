import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { discardSystemVm } from '../create.ts';
import { startSystemVm } from '../life.ts';
import { systemVmResult } from '../views.ts';

/** `isNew`: made for this job; when it does not start nothing of it stays. */
export const startSystemVmSaga = saga({
  name: 'systemVm.start',
  version: 1,
  input: s.object({ id: s.id('machine'), isNew: s.boolean() }),
  run: async (run, { id, isNew }) => {
    await run.step(
      'new',
      async () => null,
      async (tx) => {
        if (isNew) await discardSystemVm(tx, id);
      },
    );
    await startSystemVm(run, id, 'operator');
    return { id };
  },
  result: (context, { id }) => systemVmResult(context, id),
});
