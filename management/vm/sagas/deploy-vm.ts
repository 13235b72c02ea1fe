import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { errorMachine } from '../../machine/index.ts';
import { guestMetadata } from '../../network/index.ts';
import { startGuest } from '../life.ts';
import { vmResult } from '../results.ts';

/** First start of a guest whose rows were written with the job. When it cannot start the rows stay, in state Error, to be destroyed. */
export const deployVmSaga = saga({
  name: 'vm.deploy',
  version: 1,
  input: s.object({ id: s.id('machine'), hostId: s.nullable(s.id('host')), start: s.boolean() }),
  run: async (run, { id, hostId, start }) => {
    await run.step(
      'deployed',
      async () => null,
      // The user asked for a machine and gets one that says what is wrong with it.
      (tx) => errorMachine(tx, id),
    );
    if (start) await startGuest(run, id, hostId);
    return { id };
  },
  result: async (context, { id }) => {
    // A template that takes passwords has been given one: this is where its owner learns it.
    const row = await context.db.read.findOneBy(guestMetadata, { machineId: id });
    return vmResult(context, id, row?.password ? context.secrets.open(row.password) : undefined);
  },
});
