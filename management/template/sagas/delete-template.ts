import { IsNull } from 'typeorm';
import { call } from '../../../protocol/message.ts';
import { RemoveStoredImage } from '../../../protocol/messages/image.ts';
import { s } from '../../../protocol/schema.ts';
import { downloadStates } from '../../../protocol/states/template.ts';
import { lock, move } from '../../core/db.ts';
import { saga } from '../../core/saga.ts';
import { storedImages, templates } from '../entities.ts';

const WAIT_SECONDS = 600;

/** Removes a template from its stores. Copies on primary storage go when nothing is based on them any more. */
export const deleteTemplateSaga = saga({
  name: 'template.delete',
  version: 1,
  input: s.object({ templateId: s.id('template') }),
  run: async (run, { templateId }) => {
    const images = await run.step('going', async (tx) => {
      await tx.update(templates, { id: templateId }, { state: 'Inactive' });
      return (await tx.find(storedImages, { where: { templateId, removedAt: IsNull() } })).map(({ id, storeId, zoneId }) => ({
        id,
        storeId,
        zoneId,
      }));
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
      await tx.update(templates, { id: templateId }, { removedAt: new Date() });
      wake('imageCopy');
      return null;
    });
    return null;
  },
});
