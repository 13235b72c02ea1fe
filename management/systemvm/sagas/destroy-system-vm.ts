import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { destroySystemVm } from '../life.ts';
import { systemVmResult } from '../views.ts';

export const destroySystemVmSaga = saga({
  name: 'systemVm.destroy',
  version: 1,
  input: s.object({ id: s.id('machine') }),
  run: async (run, { id }) => {
    await destroySystemVm(run, id);
    return { id };
  },
  result: (context, { id }) => systemVmResult(context, id),
});
