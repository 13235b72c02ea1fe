/** How images lie on a store: `template/<id>/` holds the file and `image.json`; while one is being made, `template/<id>.part/` holds what there is. */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { imageFormats } from '../protocol/messages/image.ts';
import { type Id, type Infer, isUuid, s } from '../protocol/schema.ts';

export const StoredImage = s.object({
  version: s.literal('1'),
  imageId: s.id('template'),
  /** What the user had declared. */
  format: s.oneOf(...imageFormats),
  fileName: s.oneOf('image.qcow2', 'image.iso'),
  downloadedBytes: s.int(),
  sizeBytes: s.int(),
  virtualSizeBytes: s.int(),
  sha256: s.sha256(),
  checksum: s.string({ max: 200 }),
});
export type StoredImage = Infer<typeof StoredImage>;
type ImageId = Id<'template'>;

const folderOfAll = (store: string): string => join(store, 'template');
export const imageFolder = (store: string, imageId: ImageId): string => join(folderOfAll(store), imageId);
export const partFolder = (store: string, imageId: ImageId): string => join(folderOfAll(store), `${imageId}.part`);

/** The image, if it is there and whole. */
export async function readStoredImage(store: string, imageId: ImageId): Promise<StoredImage | null> {
  const folder = imageFolder(store, imageId);
  try {
    const parsed = StoredImage.safeParse(JSON.parse(await readFile(join(folder, 'image.json'), 'utf8')));
    if (!parsed.success || parsed.data.imageId !== imageId) return null;
    const { size } = await stat(join(folder, parsed.data.fileName));
    return size === parsed.data.sizeBytes ? parsed.data : null;
  } catch (error) {
    if (error instanceof SyntaxError || isAbsent(error)) return null;
    throw error;
  }
}

/** Puts a finished image in its place, all at once: a folder with that name is always whole. */
export async function settleImage(store: string, image: StoredImage, file: string): Promise<void> {
  const making = join(partFolder(store, image.imageId), 'image');
  await rm(making, { recursive: true, force: true });
  await mkdir(making, { mode: 0o755 });
  await rename(file, join(making, image.fileName));
  await syncFile(join(making, image.fileName));
  const description = await open(join(making, 'image.json'), 'w', 0o644);
  try {
    await description.writeFile(`${JSON.stringify(image)}\n`);
    await description.sync();
  } finally {
    await description.close();
  }
  const place = imageFolder(store, image.imageId);
  await rm(place, { recursive: true, force: true });
  await rename(making, place);
  await rm(partFolder(store, image.imageId), { recursive: true, force: true });
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

export async function makePartFolder(store: string, imageId: ImageId): Promise<string> {
  const folder = partFolder(store, imageId);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return folder;
}

export const removePartFolder = (store: string, imageId: ImageId): Promise<void> =>
  rm(partFolder(store, imageId), { recursive: true, force: true });

export async function removeStoredImage(store: string, imageId: ImageId): Promise<void> {
  // Renamed first: nobody finds half an image, and what a crash leaves is swept up later.
  const doomed = partFolder(store, imageId);
  await rm(doomed, { recursive: true, force: true });
  try {
    await rename(imageFolder(store, imageId), doomed);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
  await rm(doomed, { recursive: true, force: true });
}

/** Removes what unfinished downloads have left that nobody touched for so long. */
export async function sweepParts(store: string, isRunning: (imageId: string) => boolean, untouchedMs: number): Promise<void> {
  const names = await readdir(folderOfAll(store)).catch(() => []);
  for (const name of names) {
    const imageId = name.replace(/\.part$/, '');
    if (imageId === name || !isUuid(imageId) || isRunning(imageId)) continue;
    const folder = join(folderOfAll(store), name);
    const times = await Promise.all(
      [folder, join(folder, 'download')].map((path) =>
        stat(path).then(
          ({ mtimeMs }) => mtimeMs,
          () => 0,
        ),
      ),
    );
    if (Date.now() - Math.max(...times) > untouchedMs) await rm(folder, { recursive: true, force: true });
  }
}

export async function sha256OfFile(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(1024 * 1024);
  const file = await open(path, 'r');
  try {
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

const isAbsent = (error: unknown): boolean => typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT';
