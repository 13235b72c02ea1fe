/** What jobs on guests show when they end, and how a guest is forgotten. */
import type { Id, Secret } from '../../protocol/schema.ts';
import type { MachineState } from '../../protocol/states/machine.ts';
import type { Tx } from '../core/db.ts';
import { accounts } from '../core/owners.ts';
import type { StepContext } from '../core/saga.ts';
import { sealedResult } from '../core/sealed-results.ts';
import { show } from '../core/view.ts';
import { guestMetadata } from '../network/index.ts';
import { vmKeys, vms } from './entities.ts';
import { loadVms, vmView } from './views.ts';

/** As the one who started the job may see it. A password is kept sealed, and opened for whoever may ask for the job. */
export async function vmResult({ db, job, secrets }: StepContext, id: Id<'machine'>, password?: Secret): Promise<Record<string, unknown>> {
  const starter = job.accountId ? await db.read.findOneBy(accounts, { id: job.accountId }) : null;
  const [row] = await loadVms(db, [id]);
  if (!row) return { success: true };
  const shown = show(vmView.fields, row, { admin: starter?.type === 'admin' });
  return { [vmView.key]: password ? { ...shown, password: sealedResult(secrets, password) } : shown };
}
/** A guest that its owner still counts as there is never expunged. */
export const goneForGood: readonly MachineState[] = ['Destroyed', 'Error', 'Expunging'];

/** The last of a guest's rows: it is gone for its owner. */
export async function forgetGuest(tx: Tx, id: Id<'machine'>): Promise<null> {
  await tx.update(vms, { id }, { removedAt: new Date() });
  await tx.delete(guestMetadata, { machineId: id });
  await tx.delete(vmKeys, { machineId: id });
  return null;
}
