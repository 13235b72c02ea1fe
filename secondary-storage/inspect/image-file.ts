/** A file that a stranger has made, read piece by piece at places that its own headers name. */
import { open } from 'node:fs/promises';
import { CloudError } from '../../protocol/errors.ts';

export interface ImageFile {
  readonly sizeBytes: number;
  /** Exactly `length` bytes, or a refusal when the file ends before. */
  readonly read: (position: number, length: number) => Promise<Buffer>;
}

export interface Inspected {
  readonly virtualSizeBytes: number;
}
export type Inspector = (file: ImageFile) => Promise<Inspected>;

/** The image is not acceptable; the sentence is for its owner. */
export const unacceptable = (sentence: string): CloudError => new CloudError('InvalidParameter', sentence);

/** No header that is read here is larger. */
const READ_BYTES_MAX = 64 * 1024 * 1024;

export async function withImageFile<T>(path: string, work: (file: ImageFile) => Promise<T>): Promise<T> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    return await work({
      sizeBytes: size,
      read: async (position, length) => {
        if (!Number.isSafeInteger(position) || position < 0 || length < 0 || length > READ_BYTES_MAX || position + length > size)
          throw unacceptable('the image is damaged: it points outside itself');
        const buffer = Buffer.alloc(length);
        let filled = 0;
        while (filled < length) {
          const { bytesRead } = await handle.read(buffer, filled, length - filled, position + filled);
          if (bytesRead === 0) throw unacceptable('the image is damaged: it ends too early');
          filled += bytesRead;
        }
        return buffer;
      },
    });
  } finally {
    await handle.close();
  }
}

/** For images in memory. */
export const memoryImageFile = (bytes: Buffer): ImageFile => ({
  sizeBytes: bytes.length,
  read: async (position, length) => {
    if (!Number.isSafeInteger(position) || position < 0 || length < 0 || position + length > bytes.length)
      throw unacceptable('the image is damaged: it points outside itself');
    return Buffer.from(bytes.subarray(position, position + length));
  },
});

/** As much of the range as there is. */
export const readUpTo = (file: ImageFile, position: number, length: number): Promise<Buffer> =>
  file.read(Math.min(position, file.sizeBytes), Math.max(0, Math.min(length, file.sizeBytes - position)));

/** 64-bit numbers of a header; those beyond what a file can be are nonsense. */
export function safeNumber(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw unacceptable(`the image is damaged: its ${what} cannot be`);
  return Number(value);
}
