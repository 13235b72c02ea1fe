import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { DownloadImage } from '../../../protocol/messages/image.ts';
import type { Id, Infer } from '../../../protocol/schema.ts';
import { s } from '../../../protocol/schema.ts';
import { downloadStates } from '../../../protocol/states/template.ts';
import { lock, move } from '../../core/db.ts';
import { raiseAlert } from '../../core/events.ts';
import { type Run, saga } from '../../core/saga.ts';
import { storedImages, templates } from '../entities.ts';
import { imageSizeMaxGib } from '../settings.ts';

/** A secondary storage VM may have to be made first, or replaced on the way. */
const WAIT_SECONDS = 3600;
const ATTEMPTS_MAX = 30;

/** Has a secondary storage VM bring a template into its store. It ends well either way; what went wrong stands in the row. */
export const downloadTemplateSaga = saga({
  name: 'template.download',
  version: 1,
  input: s.object({ storedImageId: s.id('storedImage') }),
  run: async (run, { storedImageId }) => {
    const plan = await run.step('start', async (tx, { settings }) => {
      const image = await lock(tx, storedImages, { id: storedImageId });
      // Deleted before it began, or brought already.
      if (!image || image.removedAt || !downloadStates.can(image.state, 'start')) return null;
      const template = await tx.findOneByOrFail(templates, { id: image.templateId });
      if (!image.storeId || !template.url) throw new CloudError('Internal', 'the template has no store or no URL');
      await move(tx, storedImages, downloadStates, image, 'start', { percent: 0, error: null, updatedAt: new Date() });
      return {
        zoneId: image.zoneId,
        ask: {
          storeId: image.storeId,
          imageId: template.id,
          url: template.url,
          format: template.format,
          checksum: template.checksum,
          sizeBytesMax: settings.get(imageSizeMaxGib) * 2 ** 30,
        },
      };
    });
    if (!plan) return null;
    try {
      const found = await download(run, storedImageId, plan);
      if (!found) return null;
      await run.step('ready', async (tx, { wake }) => {
        const image = await lock(tx, storedImages, { id: storedImageId });
        if (image?.state !== 'DOWNLOAD_IN_PROGRESS') return null;
        const { sizeBytes, virtualSizeBytes, sha256, checksum } = found;
        await move(tx, storedImages, downloadStates, image, 'succeed', {
          percent: 100,
          sizeBytes,
          virtualSizeBytes,
          sha256,
          updatedAt: new Date(),
        });
        await tx.update(templates, { id: image.templateId }, { checksum });
        wake('image');
        return null;
      });
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      await run.step('failed', async (tx) => {
        const image = await lock(tx, storedImages, { id: storedImageId });
        if (image?.state !== 'DOWNLOAD_IN_PROGRESS') return null;
        await move(tx, storedImages, downloadStates, image, 'fail', { error: error.message.slice(0, 1024), updatedAt: new Date() });
        await raiseAlert(tx, 'uploadFailed', `A template could not be downloaded: ${error.message}`, {
          zoneId: plan.zoneId,
          resourceId: image.templateId,
        });
        return null;
      });
    }
    return null;
  },
});

type Ask = Infer<typeof DownloadImage.ask>;

/**
 * A secondary storage VM that goes away is no reason to give up: its successor goes on where it was. Null when the template was deleted
 * meanwhile.
 */
async function download(
  run: Run,
  storedImageId: Id<'storedImage'>,
  { zoneId, ask }: { zoneId: Id<'zone'>; ask: Ask },
): Promise<Infer<typeof DownloadImage.answer> | null> {
  for (let attempt = 0; ; attempt++) {
    // Asked again, a secondary storage VM would bring back what another has just removed.
    const isWanted = await run.step(
      `wanted ${attempt}`,
      async (tx) => (await tx.findOneBy(storedImages, { id: storedImageId }))?.state === 'DOWNLOAD_IN_PROGRESS',
    );
    if (!isWanted) return null;
    try {
      return await run.part(`try ${attempt}`, (part) =>
        part.ask('download', { any: 'secondary-storage', zoneId }, call(DownloadImage, ask), undefined, {
          linkGraceSeconds: WAIT_SECONDS,
        }),
      );
    } catch (error) {
      if (!(error instanceof CloudError) || !['Unreachable', 'Timeout'].includes(error.code) || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}
