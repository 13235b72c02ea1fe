import type { Id } from '../../../protocol/schema.ts';
import { lock } from '../../core/db.ts';
import { reconciler } from '../../core/reconcile.ts';
import { templates } from '../entities.ts';
import { addStoredImage } from '../register.ts';
import { downloadTemplateSaga } from '../sagas/download-template.ts';

/** Templates and ISOs for every zone also come into zones, and onto stores, that were added after them. */
export const zonesReconciler = reconciler({
  name: 'template.zones',
  everySeconds: 60,
  wakeOn: ['zone', 'storage'],
  run: async ({ db, jobs, log }) => {
    const missing = await db.rows<{ templateId: Id<'template'>; zoneId: Id<'zone'> }>(
      `SELECT te.id AS templateId, z.id AS zoneId FROM template te JOIN zone z ON z.removed_at IS NULL
        WHERE te.zone_id IS NULL AND te.removed_at IS NULL AND te.state = 'Active' AND te.url IS NOT NULL AND te.type <> 'SYSTEM'
          AND EXISTS (SELECT 1 FROM image_store st WHERE st.zone_id = z.id AND st.removed_at IS NULL AND NOT st.read_only)
          AND NOT EXISTS (SELECT 1 FROM stored_image si WHERE si.template_id = te.id AND si.zone_id = z.id AND si.removed_at IS NULL) LIMIT 100`,
    );
    for (const { templateId, zoneId } of missing) {
      const started = await db.transact(async (tx) => {
        // The template's row is the lock: two looks at the same time add it once.
        const template = await lock(tx, templates, { id: templateId });
        const there = await tx.query('SELECT id FROM stored_image WHERE template_id = ? AND zone_id = ? AND removed_at IS NULL', [
          templateId,
          zoneId,
        ]);
        if (!template || template.removedAt || template.state !== 'Active' || template.zoneId !== null || there.length > 0) return null;
        const image = await addStoredImage(tx, templateId, zoneId);
        return image ? jobs.add(tx, downloadTemplateSaga, { storedImageId: image, round: 0 }, { requestId: 'template.zones' }) : null;
      });
      if (!started) continue;
      log.info({ templateId, zoneId }, 'a template for every zone is brought into a zone that does not have it');
      jobs.ring(started);
    }
  },
});
