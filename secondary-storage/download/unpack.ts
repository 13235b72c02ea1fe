/** Undoes gzip, the one compression that images are accepted in. A bomb is stopped at the size limit, and zeros take no space. */

import { createReadStream } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import type { CloudError } from '../../protocol/errors.ts';
import { passedBytes } from '../../systemvm/buffers.ts';
import { refused } from './problem.ts';

const BLOCK_BYTES = 128 * 1024;
const GZIP_MAGIC = Buffer.of(0x1f, 0x8b);

/** Replaces the file by what it holds if it is gzip. True when it was. */
export async function unpack(path: string, sizeBytesMax: number, signal: AbortSignal): Promise<boolean> {
  const packed = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await packed.read(Buffer.alloc(2), 0, 2, 0);
    if (bytesRead < 2 || !buffer.equals(GZIP_MAGIC)) return false;
  } finally {
    await packed.close();
  }
  const unpackedPath = `${path}.unpacked`;
  const unpacked = await open(unpackedPath, 'w', 0o600);
  const zeros = Buffer.alloc(BLOCK_BYTES);
  let sizeBytes = 0;
  const passed = passedBytes();
  // The pipeline would report its own end instead.
  let problem: CloudError | null = null;
  try {
    await pipeline(
      createReadStream(path, { highWaterMark: BLOCK_BYTES }),
      createGunzip({ chunkSize: BLOCK_BYTES }),
      async (pieces) => {
        for await (const piece of pieces) {
          const chunk: Buffer = piece;
          if (sizeBytes + chunk.length > sizeBytesMax) {
            problem = refused(`the unpacked file has more than the ${sizeBytesMax} bytes that are allowed`);
            throw problem;
          }
          // A hole reads as zeros.
          if (!chunk.equals(zeros.subarray(0, chunk.length))) {
            let written = 0;
            while (written < chunk.length)
              written += (await unpacked.write(chunk, written, chunk.length - written, sizeBytes + written)).bytesWritten;
          }
          sizeBytes += chunk.length;
          passed(chunk.length);
        }
      },
      { signal },
    );
    await unpacked.truncate(sizeBytes);
  } catch (error) {
    signal.throwIfAborted();
    if (problem !== null) throw problem;
    const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
    if (code.startsWith('Z_')) throw refused('the file is damaged gzip');
    throw error;
  } finally {
    await unpacked.close();
  }
  await rename(unpackedPath, path);
  return true;
}
