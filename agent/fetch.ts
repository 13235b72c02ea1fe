/** Fetches one file over mutual TLS, goes on where it broke off, and puts it in its place only when its hash is right. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, open, rename, rm, statfs, truncate } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { CloudError } from '../protocol/errors.ts';
import { clientTls, type LinkIdentity } from '../protocol/link/identity.ts';
import { sizeOf } from './files.ts';

export interface FetchRequest {
  readonly url: string;
  readonly sha256: string;
  /** Where the file is to be in the end, and where it grows until then; both on one file system. */
  readonly path: string;
  readonly partPath: string;
  readonly mode: number;
  readonly signal: AbortSignal;
}
export type Fetch = (file: FetchRequest) => Promise<void>;

export interface FetchTiming {
  readonly attemptsMax: number;
  readonly idleSeconds: number;
  readonly retrySeconds: number;
}
const TIMING: FetchTiming = { attemptsMax: 6, idleSeconds: 30, retrySeconds: 2 };
/** Never fill a file system to the brim: running machines' overlays grow on it too. */
const SPARE_BYTES = 64 * 1024 * 1024;

/** Which certificate the server must have is said by what it serves: a secondary storage VM images, a management server files. */
export function sourceOf(url: string): { url: URL; kind: 'secondary-storage' | 'management' } {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed?.protocol !== 'https:' || parsed.username !== '' || parsed.password !== '') {
    throw new CloudError('InvalidParameter', 'a file can only be fetched from an https address');
  }
  if (parsed.pathname.startsWith('/images/')) return { url: parsed, kind: 'secondary-storage' };
  if (parsed.pathname.startsWith('/files/')) return { url: parsed, kind: 'management' };
  throw new CloudError('InvalidParameter', 'a file can only be fetched from /images/ or /files/');
}

export const fetchFrom =
  (identity: () => LinkIdentity | null, timing: FetchTiming = TIMING): Fetch =>
  async (file) => {
    const source = sourceOf(file.url);
    for (let attempt = 1; ; attempt += 1) {
      try {
        const own = identity();
        if (!own) throw new CloudError('Unavailable', 'the host has no certificate yet');
        await fetchRest(file, source, own, timing.idleSeconds);
        break;
      } catch (error) {
        if (file.signal.aborted) throw new CloudError('Timeout', 'the transfer was given up', { cause: error });
        // Only a broken connection is worth another try; a refusal or a wrong file stays what it is.
        if (error instanceof CloudError && error.code !== 'Unreachable') throw error;
        if (attempt >= timing.attemptsMax)
          throw new CloudError('Unreachable', 'the file could not be fetched', { cause: error, url: file.url });
        await wait(timing.retrySeconds * 1000 * attempt, undefined, { signal: file.signal }).catch(() => {});
      }
    }
    await chmod(file.partPath, file.mode);
    await rename(file.partPath, file.path);
  };

async function fetchRest(
  file: FetchRequest,
  source: ReturnType<typeof sourceOf>,
  identity: LinkIdentity,
  idleSeconds: number,
): Promise<void> {
  const hash = createHash('sha256');
  let offset = (await sizeOf(file.partPath)) ?? 0;
  const response = await answer(source, identity, offset, idleSeconds, file.signal);
  try {
    if (response.statusCode === 416) {
      // What we have is the whole, or more than there is: the hash decides below.
      response.resume();
    } else if (response.statusCode === 206 && response.headers['content-range']?.startsWith(`bytes ${offset}-`)) {
      await roomFor(file.partPath, response);
    } else if (response.statusCode === 200) {
      if (offset > 0) await truncate(file.partPath, 0);
      offset = 0;
      await roomFor(file.partPath, response);
    } else {
      throw new CloudError('ResourceUnavailable', 'the file is not where it was said to be', {
        url: file.url,
        status: response.statusCode,
      });
    }
    if (offset > 0) await addToHash(hash, file.partPath);
    if (response.statusCode !== 416) await append(file.partPath, response, hash);
  } finally {
    response.destroy();
  }
  if (hash.digest('hex') !== file.sha256) {
    await rm(file.partPath, { force: true });
    throw new CloudError('ResourceUnavailable', 'the file that came is not the one that was asked for', { url: file.url });
  }
}

function answer(
  { url, kind }: ReturnType<typeof sourceOf>,
  identity: LinkIdentity,
  offset: number,
  idleSeconds: number,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        ...clientTls(identity, { kind }),
        host: url.hostname.replace(/^\[|\]$/g, ''),
        port: url.port === '' ? 443 : Number(url.port),
        path: `${url.pathname}${url.search}`,
        method: 'GET',
        headers: offset > 0 ? { range: `bytes=${offset}-` } : {},
        agent: false,
        signal,
      },
      resolve,
    );
    outgoing.setTimeout(idleSeconds * 1000, () => outgoing.destroy(new CloudError('Unreachable', 'the server went silent')));
    outgoing.on('error', reject);
    outgoing.end();
  });
}

async function roomFor(partPath: string, response: IncomingMessage): Promise<void> {
  const neededBytes = Number(response.headers['content-length'] ?? 0);
  const { bavail, bsize } = await statfs(dirname(partPath));
  if (neededBytes + SPARE_BYTES > bavail * bsize) {
    throw new CloudError('InsufficientStorage', 'the storage has not enough room for the file', { neededBytes, freeBytes: bavail * bsize });
  }
}

async function addToHash(hash: Hash, path: string): Promise<void> {
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
}

async function append(partPath: string, response: IncomingMessage, hash: Hash): Promise<void> {
  const part = await open(partPath, 'a', 0o600);
  try {
    for await (const chunk of response) {
      hash.update(chunk);
      await part.write(chunk);
    }
    await part.sync();
  } finally {
    await part.close();
  }
}
