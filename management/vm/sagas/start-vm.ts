import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { startGuest } from '../life.ts';
import { vmResult } from '../results.ts';

export const startVmSaga = saga({
  name: 'vm.start',
  version: 1,
  input: s.object({ id: s.id('machine'), hostId: s.nullable(s.id('host')) }),
  run: async (run, { id, hostId }) => {
    await startGuest(run, id, hostId);
    return { id };
  },
  result: (context, { id }) => vmResult(context, id),
});
