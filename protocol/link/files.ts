/** Sends a file, or the part of it that the Range header asks for. */
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';

/** Null for a header that is absent or not understood (the whole file is sent then); `none` when it lies outside the file. */
export function rangeOf(header: string | undefined, sizeBytes: number): { first: number; last: number } | 'none' | null {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '');
  const [, from = '', to = ''] = match ?? [];
  if (match === null || (from === '' && to === '')) return null;
  if (from === '') {
    const first = Math.max(0, sizeBytes - Number(to));
    return Number(to) === 0 || sizeBytes === 0 ? 'none' : { first, last: sizeBytes - 1 };
  }
  const first = Number(from);
  const last = to === '' ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1);
  if (to !== '' && Number(to) < first) return null;
  return first >= sizeBytes ? 'none' : { first, last };
}

export async function sendFile(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch {
    response.writeHead(404).end();
    return;
  }
  const { size } = await file.stat();
  const range = rangeOf(request.headers.range, size);
  const headers = { 'accept-ranges': 'bytes', 'content-type': 'application/octet-stream' };
  if (range === 'none' || request.method === 'HEAD' || size === 0) {
    await file.close();
    if (range === 'none' && size > 0) response.writeHead(416, { ...headers, 'content-range': `bytes */${size}` }).end();
    else response.writeHead(200, { ...headers, 'content-length': size }).end();
    return;
  }
  const { first, last } = range ?? { first: 0, last: size - 1 };
  response.writeHead(range === null ? 200 : 206, {
    ...headers,
    'content-length': last - first + 1,
    ...(range === null ? {} : { 'content-range': `bytes ${first}-${last}/${size}` }),
  });
  // The stream closes the file, also when the client goes away in the middle.
  await pipeline(createReadStream('', { fd: file, start: first, end: last, highWaterMark: 256 * 1024 }), response);
}
