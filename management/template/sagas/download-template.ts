import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { DownloadImage } from '../../../protocol/messages/image.ts';
import type { Id, Infer } from '../../../protocol/schema.ts';
import { s } from '../../../protocol/schema.ts';
import { downloadStates } from '../../../protocol/states/template.ts';
import { lock, move } from '../../core/db.ts';
import { raiseAlert, resolveAlert } from '../../core/events.ts';
import { type Run, type Saga, saga } from '../../core/saga.ts';
import { storedImages, templates } from '../entities.ts';
import { failureText, secondsToNextRound } from '../rules.ts';
import { imageSizeMaxGib } from '../settings.ts';

/** A secondary storage VM may have to be made first, or replaced on the way. */
const WAIT_SECONDS = 3600;
/** A secondary storage VM tries for a minute or more each time. */
const ATTEMPTS_MAX = 4;

/** The round counts the times it was tried and given up before. */
const Input = s.object({ storedImageId: s.id('storedImage'), round: s.int() });

/**
 * Has a secondary storage VM bring a template into its store. It ends well either way; what went wrong stands in the row. A cause that may
 * pass by itself gets another round later, which goes on where this one was.
 */
export const downloadTemplateSaga: Saga<Infer<typeof Input>, null> = saga<Infer<typeof Input>, null>({
  name: 'template.download',
  version: 2,
  input: Input,
  mayTakeHours: true,
  run: async (run, { storedImageId, round }) => {
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
          error: null,
          sizeBytes,
          virtualSizeBytes,
          sha256,
          updatedAt: new Date(),
        });
        await tx.update(templates, { id: image.templateId }, { checksum });
        await resolveAlert(tx, 'uploadFailed', image.templateId);
        wake('image');
        return null;
      });
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      await run.step('failed', async (tx, { jobs, requestId }) => {
        const image = await lock(tx, storedImages, { id: storedImageId });
        if (image?.state !== 'DOWNLOAD_IN_PROGRESS') return null;
        const seconds = secondsToNextRound(error, round);
        const notBefore = seconds === null ? null : new Date(Date.now() + seconds * 1000);
        await move(tx, storedImages, downloadStates, image, 'fail', { error: failureText(error, notBefore), updatedAt: new Date() });
        if (notBefore) await jobs.add(tx, downloadTemplateSaga, { storedImageId, round: round + 1 }, { requestId, notBefore });
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
      // A Conflict is the work of one that was replaced, or of a template that was deleted meanwhile.
      if (!(error instanceof CloudError) || !['Unreachable', 'Timeout', 'Conflict'].includes(error.code) || attempt === ATTEMPTS_MAX)
        throw error;
      await run.step(`trouble ${attempt}`, async (tx) => {
        const image = await lock(tx, storedImages, { id: storedImageId });
        if (image?.state === 'DOWNLOAD_IN_PROGRESS')
          await tx.update(storedImages, { id: storedImageId }, { error: failureText(error, null), updatedAt: new Date() });
        return null;
      });
    }
  }
}
