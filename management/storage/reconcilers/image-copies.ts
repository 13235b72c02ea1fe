import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { RemoveImage } from '../../../protocol/messages/storage.ts';
import type { Id } from '../../../protocol/schema.ts';
import { imageCopyStates } from '../../../protocol/states/template.ts';
import { lock, move, type Tx } from '../../core/db.ts';
import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import { imageCopies } from '../entities.ts';
import { giveRoom, hostOfPool } from '../volumes.ts';

/** Copies of deleted templates and ISOs go from primary storage when no volume is based on them and no drive holds them any more. */
export const imageCopiesReconciler = reconciler({
  name: 'storage.imageCopies',
  everySeconds: 300,
  wakeOn: ['imageCopy'],
  run: async (services) => {
    const { db, log } = services;
    const idle = await db.rows<{ id: Id<'imageCopy'> }>(
      `SELECT ic.id AS id FROM image_copy ic JOIN template te ON te.id = ic.template_id JOIN storage_pool p ON p.id = ic.pool_id
        WHERE te.removed_at IS NOT NULL AND p.removed_at IS NULL AND NOT EXISTS (${USES}) LIMIT 200`,
    );
    for (const { id } of idle) {
      await removeCopy(services, id).catch((error: unknown) =>
        log.warn({ err: error, imageCopy: id }, 'the copy of a deleted template could not be removed; it is tried again'),
      );
    }
  },
});

/** Whatever still needs the copy `ic`. A volume without a pool yet may be about to be made on it. */
const USES = `SELECT 1 FROM volume v WHERE v.template_id = ic.template_id AND v.removed_at IS NULL AND (v.pool_id = ic.pool_id OR v.pool_id IS NULL)
  UNION ALL SELECT 1 FROM machine m WHERE m.iso_id = ic.template_id AND m.removed_at IS NULL`;

async function removeCopy({ db, agents }: Services, id: Id<'imageCopy'>): Promise<void> {
  const plan = await db.transact(async (tx) => {
    const copy = await lock(tx, imageCopies, { id });
    if (!copy || (await isUsed(tx, id))) return null;
    if (copy.state !== 'Removing') await move(tx, imageCopies, imageCopyStates, copy, 'remove');
    return { poolId: copy.poolId, imageId: copy.templateId, hostId: (await hostOfPool(tx, { id: copy.poolId, name: copy.poolId })).id };
  });
  if (!plan) return;
  const { hostId, poolId, imageId } = plan;
  try {
    await agents.ask({ kind: 'host', id: hostId }, call(RemoveImage, { poolId, imageId }), {
      requestId: 'storage.imageCopies',
      linkGraceSeconds: 0,
    });
  } catch (error) {
    // The host sees a volume on it that the record does not know of: the file stays.
    if (error instanceof CloudError && error.code === 'InUse') return;
    throw error;
  }
  await db.transact(async (tx) => {
    const copy = await lock(tx, imageCopies, { id });
    if (copy?.state !== 'Removing') return;
    await giveRoom(tx, copy.poolId, copy.sizeBytes);
    await tx.delete(imageCopies, { id });
  });
}

async function isUsed(tx: Tx, id: Id<'imageCopy'>): Promise<boolean> {
  const rows = await tx.query(`SELECT ic.id FROM image_copy ic WHERE ic.id = ? AND EXISTS (${USES})`, [id]);
  return rows.length > 0;
}
