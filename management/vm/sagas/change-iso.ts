import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { ChangeIso } from '../../../protocol/messages/machine.ts';
import { type Id, s } from '../../../protocol/schema.ts';
import type { Tx } from '../../core/db.ts';
import { type Run, saga } from '../../core/saga.ts';
import type { Services } from '../../core/services.ts';
import { type MachineRow, machines, mustFind } from '../../machine/index.ts';
import { ensureImage, imageCopies, volumesOf } from '../../storage/index.ts';
import { vmResult } from '../results.ts';

/** Puts an ISO into a guest's drive, or with null takes out what is there. A guest that does not run finds it at its next start. */
export const changeIsoSaga = saga({
  name: 'vm.changeIso',
  version: 1,
  input: s.object({ id: s.id('machine'), isoId: s.nullable(s.id('template')) }),
  run: async (run, { id, isoId }) => {
    const { hostId, poolId } = await run.step('machine', async (tx) => {
      const machine = await mustFind(tx, id);
      mustBeAtRest(machine);
      return { hostId: machine.hostId, poolId: (await volumesOf(tx, id))[0]?.poolId ?? null };
    });
    if (hostId && poolId) await intoDrive(run, { id, isoId, hostId, poolId });
    await run.step('changed', async (tx) => {
      const machine = await mustFind(tx, id);
      // One that was started or stopped meanwhile has another ISO in its drive than the record would say.
      if (machine.hostId !== hostId)
        throw new CloudError('Conflict', 'the virtual machine was started or stopped while its ISO was changed; please try again');
      mustBeAtRest(machine);
      await tx.update(machines, { id }, { isoId });
      return null;
    });
    return { id };
  },
  result: (context, { id }) => vmResult(context, id),
});

export function mustBeAtRest({ state }: Pick<MachineRow, 'state'>): void {
  if (state !== 'Running' && state !== 'Stopped')
    throw new CloudError('WrongState', `the ISO of a virtual machine can be changed while it is Running or Stopped; it is ${state}`);
}

interface Drive {
  readonly id: Id<'machine'>;
  readonly isoId: Id<'template'> | null;
  readonly hostId: Id<'host'>;
  readonly poolId: Id<'storagePool'>;
}

async function intoDrive(run: Run, { id, isoId, hostId, poolId }: Drive): Promise<void> {
  if (isoId) await ensureImage(run, { poolId, imageId: isoId, hostId, label: 'ISO' });
  const change = (imageId: Id<'template'> | null) => call(ChangeIso, { id, iso: imageId ? { imageId, poolId } : null });
  await run.ask('change', { kind: 'host', id: hostId }, change(isoId), async ({ db }: Services) => {
    // Back to what the record says, which is changed last.
    const known = await db.read.findOneByOrFail(machines, { id });
    return change(known.isoId && (await isOnPool(db.read, known.isoId, poolId)) ? known.isoId : null);
  });
}

const isOnPool = (read: Tx, templateId: Id<'template'>, poolId: Id<'storagePool'>): Promise<boolean> =>
  read.existsBy(imageCopies, { templateId, poolId, state: 'Ready' });
