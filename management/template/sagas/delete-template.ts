import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { RemoveStoredImage } from '../../../protocol/messages/image.ts';
import { s } from '../../../protocol/schema.ts';
import { downloadStates } from '../../../protocol/states/template.ts';
import { lock, move } from '../../core/db.ts';
import { resolveAlert } from '../../core/events.ts';
import { saga } from '../../core/saga.ts';
import { storedImages, templateGrants, templates } from '../entities.ts';

const WAIT_SECONDS = 600;

/**
 * Removes a template from its stores, or from those of one zone. When it is in no zone any more it is gone. Copies on primary storage
 * go when nothing is based on them any more.
 */
export const deleteTemplateSaga = saga({
  name: 'template.delete',
  version: 1,
  input: s.object({ templateId: s.id('template'), zoneId: s.nullable(s.id('zone')) }),
  mayTakeHours: true,
  run: async (run, { templateId, zoneId: onlyZoneId }) => {
    const images = await run.step('going', async (tx) => {
      const template = await lock(tx, templates, { id: templateId });
      const all = await tx.find(storedImages, { where: { templateId, removedAt: IsNull() }, order: { id: 'ASC' } });
      const going = all.filter(({ zoneId }) => onlyZoneId === null || zoneId === onlyZoneId);
      if (onlyZoneId !== null && going.length === 0 && all.length > 0)
        throw new CloudError('InvalidParameter', `the ${template?.kind ?? 'template'} is not in the zone that was given`);
      const [staying] = all.filter(({ zoneId }) => onlyZoneId !== null && zoneId !== onlyZoneId);
      if (!staying) await tx.update(templates, { id: templateId }, { state: 'Inactive' });
      // One that leaves a zone is no longer for every zone, or it would be brought back.
      else if (template && (template.zoneId === null || template.zoneId === onlyZoneId))
        await tx.update(templates, { id: templateId }, { zoneId: staying.zoneId });
      return going.map(({ id, storeId, zoneId }) => ({ id, storeId, zoneId }));
    });
    for (const { id, storeId, zoneId } of images) {
      await run.step(`abandon ${id}`, async (tx) => {
        const image = await lock(tx, storedImages, { id });
        if (image && downloadStates.can(image.state, 'remove'))
          await move(tx, storedImages, downloadStates, image, 'remove', { updatedAt: new Date() });
        return null;
      });
      if (storeId) {
        await run.ask(
          `remove ${id}`,
          { any: 'secondary-storage', zoneId },
          call(RemoveStoredImage, { storeId, imageId: templateId }),
          undefined,
          { linkGraceSeconds: WAIT_SECONDS },
        );
      }
      await run.step(`removed ${id}`, async (tx) => {
        await tx.update(storedImages, { id }, { removedAt: new Date() });
        return null;
      });
    }
    await run.step('gone', async (tx, { wake }) => {
      await lock(tx, templates, { id: templateId });
      if ((await tx.countBy(storedImages, { templateId, removedAt: IsNull() })) > 0) return null;
      await tx.update(templates, { id: templateId }, { state: 'Inactive', removedAt: new Date() });
      await tx.delete(templateGrants, { templateId });
      await resolveAlert(tx, 'uploadFailed', templateId);
      wake('imageCopy');
      return null;
    });
    return null;
  },
});
