import { systemAccount } from '../../account/index.ts';
import { lock } from '../../core/db.ts';
import { writeEvent } from '../../core/events.ts';
import { reconciler } from '../../core/reconcile.ts';
import { zones } from '../entities.ts';
import { moveAllocation } from '../states.ts';
import { missingPartsOf } from '../zone-parts.ts';

/** Enables zones whose operator asked for it before they had all their parts. */
export const zonesReconciler = reconciler({
  name: 'infra.zones',
  everySeconds: 15,
  wakeOn: ['zone'],
  run: async ({ db, log, wake }) => {
    const waiting = await db.rows<{ id: string }>(
      `SELECT id FROM zone WHERE enable_when_ready = TRUE AND allocation_state = 'Disabled' AND removed_at IS NULL`,
    );
    const missing = await missingPartsOf(
      db.read,
      waiting.map(({ id }) => id),
    );
    const ready = waiting.filter(({ id }) => missing.get(id)?.length === 0);
    if (ready.length === 0) return;
    const { id: accountId, domainId } = await systemAccount(db.read);
    for (const { id } of ready) {
      await db.transact(async (tx) => {
        const zone = await lock(tx, zones, { id: id as never });
        if (!zone?.enableWhenReady || zone.removedAt) return;
        await moveAllocation(tx, zones, zone, 'Enabled', { enableWhenReady: false });
        await writeEvent(tx, {
          type: 'ZONE.EDIT',
          description: `The zone ${zone.name} has all its parts and is Enabled`,
          owner: { accountId, domainId, userId: null },
          resource: { type: 'Zone', id },
        });
        log.info({ zone: zone.name }, 'the zone has all its parts and is enabled');
      });
    }
    wake('zone');
  },
});
