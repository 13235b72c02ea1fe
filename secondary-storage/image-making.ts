/** From a URL to an image in the store: fetch, compare, unpack, inspect, convert, settle. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../protocol/errors.ts';
import type { DownloadImage } from '../protocol/messages/image.ts';
import type { Infer } from '../protocol/schema.ts';
import { convertImage, isConvertible } from './convert/convert.ts';
import { parseChecksum } from './download/checksum.ts';
import { isPassing, refused } from './download/problem.ts';
import { retrieve } from './download/retrieve.ts';
import type { SourceOptions } from './download/source.ts';
import { unpack } from './download/unpack.ts';
import { withImageFile } from './inspect/image-file.ts';
import { inspectImage } from './inspect/index.ts';
import { makePartFolder, removePartFolder, type StoredImage, settleImage, sha256OfFile } from './stored-image.ts';
import { measureFolder } from './stores/index.ts';

export type ImageOrder = Infer<typeof DownloadImage.ask>;
export type Phase = 'downloading' | 'checking' | 'converting';

export interface ImageMaking {
  readonly store: string;
  readonly source: SourceOptions;
  readonly signal: AbortSignal;
  readonly owner: string;
  readonly onPhase: (phase: Phase) => void;
  readonly onProgress: (receivedBytes: number, totalBytes: number | null) => void;
  /** Waits for its turn; conversions take all there is of a small machine. */
  readonly turnToConvert: <T>(work: () => Promise<T>) => Promise<T>;
  readonly delaysSeconds?: readonly number[];
}

/** Leaves nothing behind when the image is refused; what has arrived is kept when only the network failed. */
export async function makeImage(order: ImageOrder, making: ImageMaking): Promise<StoredImage> {
  const { store, signal } = making;
  try {
    return await make(order, making);
  } catch (error) {
    const keeps =
      isPassing(error) || (error instanceof CloudError && error.code === 'Conflict') || (signal.aborted && signal.reason === KEEP);
    if (!keeps) await removePartFolder(store, order.imageId).catch(() => undefined);
    throw error;
  }
}

/** The reason of an abort after which a successor goes on: this machine stops. */
export const KEEP = new CloudError('Unreachable', 'the secondary storage VM is stopping');

async function make(order: ImageOrder, making: ImageMaking): Promise<StoredImage> {
  const { store, signal, onPhase } = making;
  const expected = order.checksum === null ? null : parseChecksum(order.checksum);
  const folder = await makePartFolder(store, order.imageId);

  onPhase('downloading');
  const { file, sizeBytes, digests } = await retrieve({
    url: order.url,
    folder,
    sizeBytesMax: order.sizeBytesMax,
    algorithms: [...new Set(['sha512', ...(expected === null ? [] : [expected.algorithm])])],
    source: making.source,
    signal,
    owner: making.owner,
    freeBytes: async () => (await measureFolder(store)).freeBytes,
    onProgress: making.onProgress,
    ...(making.delaysSeconds ? { delaysSeconds: making.delaysSeconds } : {}),
  });

  onPhase('checking');
  if (expected !== null && digests[expected.algorithm] !== expected.hex)
    throw refused(`the file's ${expected.name} checksum is ${digests[expected.algorithm]}, not ${expected.hex}`);
  await unpack(file, order.sizeBytesMax, signal);
  const { virtualSizeBytes } = await withImageFile(file, (image) => inspectImage(image, order.format, order.sizeBytesMax));

  const common = {
    version: '1' as const,
    imageId: order.imageId,
    format: order.format,
    downloadedBytes: sizeBytes,
    checksum: `{SHA-512}${digests['sha512']}`,
  };
  const { format } = order;
  if (!isConvertible(format)) {
    const image: StoredImage = {
      ...common,
      fileName: 'image.iso',
      sizeBytes: (await stat(file)).size,
      virtualSizeBytes,
      sha256: await sha256OfFile(file, signal),
    };
    await settleImage(store, image, file);
    return image;
  }

  return making.turnToConvert(async () => {
    onPhase('converting');
    const target = join(folder, 'converted');
    const converted = await convertImage(file, format, target, virtualSizeBytes, signal);
    const path = join(target, 'image.qcow2');
    const image: StoredImage = { ...common, ...converted, fileName: 'image.qcow2', sha256: await sha256OfFile(path, signal) };
    await settleImage(store, image, path);
    return image;
  });
}
