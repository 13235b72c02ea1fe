/**
 * The web servers of the lab's internet, in one process of its own:
 *   /images/…    files, with ranges; `?rate=N` sends N bytes a second
 *   /source      the caller's address, as a server far away sees it
 *   /redirect    answers with a redirect to what `?to=` says, wherever that is
 */
import { open, readdir } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/** One range of a file. Null: the header says nothing we serve, so the whole file is right; 'unsatisfiable': it lies behind the end. */
export const parseRange = (header: string | undefined, sizeBytes: number): ByteRange | 'unsatisfiable' | null => {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) return null;
  if (match[1] === '') {
    const count = Math.min(Number(match[2]), sizeBytes);
    return count === 0 ? 'unsatisfiable' : { first: sizeBytes - count, last: sizeBytes - 1 };
  }
  const first = Number(match[1]);
  const last = match[2] === '' ? sizeBytes - 1 : Math.min(Number(match[2]), sizeBytes - 1);
  if (match[2] !== '' && Number(match[2]) < first) return null;
  return first >= sizeBytes ? 'unsatisfiable' : { first, last };
};

/** Only the path and the query of a request's URL count. */
const ORIGIN = 'http://internet.test';
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._+-]*$/;

/** Twenty small portions a second come closest to a slow line. */
const slowly = (bytesPerSecond: number) =>
  async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const startedAtMs = performance.now();
    const portion = Math.max(1, Math.ceil(bytesPerSecond / 20));
    let sentBytes = 0;
    for await (const chunk of source) {
      for (let offset = 0; offset < chunk.length; offset += portion) {
        const part = chunk.subarray(offset, offset + portion);
        const dueMs = startedAtMs + (sentBytes / bytesPerSecond) * 1000;
        if (dueMs > performance.now()) await sleep(dueMs - performance.now());
        sentBytes += part.length;
        yield part;
      }
    }
  };

const answer = (response: ServerResponse, status: number, text: string, headers: Readonly<Record<string, string>> = {}): void => {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...headers }).end(text);
};

const serveFile = async (
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
  bytesPerSecond: number | null,
): Promise<void> => {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) {
    answer(response, 404, 'no such image\n');
    return;
  }
  try {
    const found = await file.stat();
    if (!found.isFile()) {
      answer(response, 404, 'no such image\n');
      return;
    }
    const etag = `"${found.ino.toString(36)}-${found.size.toString(36)}-${Math.floor(found.mtimeMs).toString(36)}"`;
    const condition = request.headers['if-range'];
    const range = condition === undefined || condition === etag ? parseRange(request.headers.range, found.size) : null;
    const headers = { 'accept-ranges': 'bytes', etag, 'last-modified': found.mtime.toUTCString() };
    if (range === 'unsatisfiable') {
      answer(response, 416, 'beyond the end\n', { ...headers, 'content-range': `bytes */${found.size}` });
      return;
    }
    const { first, last } = range ?? { first: 0, last: found.size - 1 };
    response.writeHead(range === null ? 200 : 206, {
      ...headers,
      'content-type': 'application/octet-stream',
      'content-length': String(last - first + 1),
      ...(range === null ? {} : { 'content-range': `bytes ${first}-${last}/${found.size}` }),
    });
    if (request.method === 'HEAD' || found.size === 0) {
      response.end();
      return;
    }
    const source = file.createReadStream({ start: first, end: last, autoClose: false });
    if (bytesPerSecond === null) await pipeline(source, response);
    else await pipeline(source, slowly(bytesPerSecond), response);
  } finally {
    await file.close();
  }
};

export const requestHandler =
  (imagesDirectory: string) =>
  async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (!URL.canParse(request.url ?? '/', ORIGIN)) {
      answer(response, 400, 'what?\n');
      return;
    }
    const url = new URL(request.url ?? '/', ORIGIN);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      answer(response, 405, 'only GET and HEAD\n', { allow: 'GET, HEAD' });
      return;
    }
    if (url.pathname === '/source') {
      answer(response, 200, `${request.socket.remoteAddress ?? ''}\n`);
      return;
    }
    if (url.pathname === '/redirect') {
      const target = url.searchParams.get('to') ?? '/';
      // What stands in a header must be one line; a URL that is none would not be followed anyway.
      if (/^[\u0021-\u007e]+$/.test(target)) answer(response, 302, 'elsewhere\n', { location: target });
      else answer(response, 400, 'to= must be a URL\n');
      return;
    }
    if (url.pathname === '/images/') {
      const names = (await readdir(imagesDirectory).catch(() => [])).filter((name) => FILE_NAME.test(name)).sort();
      answer(response, 200, names.map((name) => `${name}\n`).join(''));
      return;
    }
    const name = /^\/images\/([^/]+)$/.exec(url.pathname)?.[1] ?? '';
    const rate = url.searchParams.get('rate');
    const bytesPerSecond = rate === null ? null : Number(rate);
    if (bytesPerSecond !== null && !(Number.isInteger(bytesPerSecond) && bytesPerSecond > 0))
      answer(response, 400, 'rate= must be a number of bytes per second\n');
    else if (!FILE_NAME.test(name)) answer(response, 404, 'nothing here\n');
    else await serveFile(join(imagesDirectory, name), request, response, bytesPerSecond);
  };

export const createInternetServer = (imagesDirectory: string) => {
  const handle = requestHandler(imagesDirectory);
  return createServer((request, response) => {
    handle(request, response).catch(() => {
      // The caller went away in the middle, or the file changed under us: the connection tells.
      response.destroy();
    });
  });
};
