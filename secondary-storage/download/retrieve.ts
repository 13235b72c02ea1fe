/** Fetches a URL into a file, on through breaks of the connection, and of this machine: a successor finds beside the file how far it got. */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { CloudError } from '../../protocol/errors.ts';
import { s } from '../../protocol/schema.ts';
import { passedBytes } from '../../systemvm/buffers.ts';
import { connectionProblem, isPassing, passing, refused } from './problem.ts';
import { openSource, type SourceOptions } from './source.ts';

export interface RetrieveOptions {
  readonly url: string;
  /** Holds `download` and `download.json`; must exist. */
  readonly folder: string;
  readonly sizeBytesMax: number;
  /** Node's names of the digests wanted. */
  readonly algorithms: readonly string[];
  readonly source: SourceOptions;
  readonly signal: AbortSignal;
  readonly freeBytes: () => Promise<number>;
  readonly onProgress: (receivedBytes: number, totalBytes: number | null) => void;
  /** Tells this fetch from another one, elsewhere, that took over. */
  readonly owner: string;
  /** Waits before the next try, in seconds; after as many tries that brought next to nothing it gives up. */
  readonly delaysSeconds?: readonly number[];
  /** A server that sends less than this in so many seconds counts as one that fell silent. */
  readonly slowest?: { readonly bytes: number; readonly seconds: number };
  readonly checkpointBytes?: number;
}
export interface Retrieved {
  readonly file: string;
  readonly sizeBytes: number;
  readonly digests: Readonly<Record<string, string>>;
}

const DELAYS_SECONDS = [1, 2, 4, 8, 16, 30];
/** Whoever drips would otherwise hold a place among the downloads for ever, and many who drip all of them. */
const SLOWEST = { bytes: 1024 * 1024, seconds: 300 };
const CHECKPOINT_BYTES = 64 * 1024 * 1024;
/** On a slow line so many bytes take long, and a successor should not have to fetch them again. */
const CHECKPOINT_SECONDS = 5;
const WRITE_BYTES = 1024 * 1024;

/** What a successor must know. The URL may hold a password, so only its hash is kept. */
const Sidecar = s.object({
  owner: s.string({ max: 100 }),
  urlSha256: s.sha256(),
  validator: s.nullable(s.string({ max: 1000 })),
  totalBytes: s.nullable(s.int()),
  /** Bytes that are surely on the disk: a machine that dies may leave a longer file with holes. */
  savedBytes: s.int(),
});
type Sidecar = { owner: string; urlSha256: string; validator: string | null; totalBytes: number | null; savedBytes: number };

async function readSidecar(path: string): Promise<Sidecar | null> {
  try {
    const parsed = Sidecar.safeParse(JSON.parse(await readFile(path, 'utf8')));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

/** For `If-Range` only a strong tag or a date will do. */
function validatorOf({ headers: { etag, 'last-modified': lastModified } }: IncomingMessage): string | null {
  if (etag?.startsWith('"')) return etag;
  return lastModified ?? null;
}

const mebibytes = (bytes: number): string => (bytes < 1024 * 1024 ? `${bytes} bytes` : `${Math.ceil(bytes / 1024 / 1024)} MiB`);

export async function retrieve(options: RetrieveOptions): Promise<Retrieved> {
  const { folder, url, sizeBytesMax, algorithms, signal, owner, delaysSeconds = DELAYS_SECONDS, slowest = SLOWEST } = options;
  const path = join(folder, 'download');
  const sidecarPath = join(folder, 'download.json');
  const urlSha256 = createHash('sha256').update(url).digest('hex');
  let state: Sidecar = { owner, urlSha256, validator: null, totalBytes: null, savedBytes: 0 };
  let receivedBytes = 0;
  let hashes = new Map<string, Hash>();

  const file = await open(path, 'a+').then(async (created) => {
    // Appending would ignore positions; the first opening only makes sure that the file is there.
    await created.close();
    return open(path, 'r+');
  });
  const startHashes = (): void => {
    hashes = new Map(algorithms.map((algorithm) => [algorithm, createHash(algorithm)]));
  };
  const save = async (): Promise<void> => {
    const found = await readSidecar(sidecarPath);
    if (found !== null && found.owner !== owner)
      throw new CloudError('Conflict', 'another secondary storage VM has taken this download over');
    await writeFile(`${sidecarPath}.new`, JSON.stringify(state), { mode: 0o600 });
    await rename(`${sidecarPath}.new`, sidecarPath);
  };
  const checkpoint = async (): Promise<void> => {
    await file.datasync();
    state = { ...state, savedBytes: receivedBytes };
    await save();
  };
  const startOver = async (): Promise<void> => {
    await file.truncate(0);
    receivedBytes = 0;
    state = { ...state, validator: null, totalBytes: null, savedBytes: 0 };
    startHashes();
  };

  const takeOver = async (): Promise<void> => {
    startHashes();
    const left = await readSidecar(sidecarPath);
    await rm(sidecarPath, { force: true });
    const { size } = await stat(path);
    if (left === null || left.urlSha256 !== urlSha256 || left.validator === null || left.savedBytes > size) await startOver();
    else {
      state = { ...left, owner };
      await file.truncate(left.savedBytes);
      await digestBeginning(file, left.savedBytes, hashes, signal);
      receivedBytes = left.savedBytes;
    }
    await save();
  };

  const checkSizes = async (totalBytes: number | null): Promise<void> => {
    if (totalBytes === null) return;
    if (totalBytes > sizeBytesMax) throw refused(`the file has ${mebibytes(totalBytes)}; at most ${mebibytes(sizeBytesMax)} are allowed`);
    const freeBytes = await options.freeBytes();
    if (totalBytes - receivedBytes > freeBytes)
      throw new CloudError(
        'InsufficientStorage',
        `the file has ${mebibytes(totalBytes)}; the secondary storage has ${mebibytes(freeBytes)} left`,
      );
  };

  /** Decides from the answer's head where its body belongs. True when there is nothing more to fetch. */
  const accept = async (response: IncomingMessage, host: string): Promise<boolean> => {
    const status = response.statusCode ?? 0;
    const length = response.headers['content-length'] === undefined ? null : Number(response.headers['content-length']);
    if (status === 206) {
      const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '');
      const total = range?.[3] === '*' ? state.totalBytes : Number(range?.[3]);
      if (range === null || Number(range[1]) !== receivedBytes || (state.totalBytes !== null && total !== state.totalBytes)) {
        await startOver();
        await save();
        throw passing(`the server ${host} resumed at another place than asked`);
      }
      state = { ...state, totalBytes: total };
      await checkSizes(total);
      return false;
    }
    if (status === 416 && receivedBytes > 0) {
      if (receivedBytes === state.totalBytes) return true;
      await startOver();
      await save();
      throw passing(`the file on the server ${host} has changed`);
    }
    if (status === 404 || status === 410) throw refused(`the server ${host} has no such file (status ${status})`);
    if (status === 401 || status === 403) throw refused(`the server ${host} denies access to the file (status ${status})`);
    if (status >= 500 || [408, 425, 429].includes(status)) throw passing(`the server ${host} cannot serve the file now (status ${status})`);
    if (status !== 200) throw refused(`the server ${host} answers with status ${status}`);
    const encoding = response.headers['content-encoding'] ?? 'identity';
    if (encoding !== 'identity') throw refused(`the server ${host} sends the file encoded as ${encoding}, which was not asked for`);
    if (receivedBytes > 0) await startOver();
    state = { ...state, validator: validatorOf(response), totalBytes: length };
    await checkSizes(length);
    await save();
    return false;
  };

  // One buffer for all writes: a new one for each would be garbage faster than it is collected.
  const pending = Buffer.allocUnsafeSlow(WRITE_BYTES);

  const readBody = async (response: IncomingMessage, host: string): Promise<void> => {
    let pendingBytes = 0;
    let sinceCheckpoint = 0;
    const passed = passedBytes();
    let checkpointAtMs = performance.now();
    const flush = async (): Promise<void> => {
      const bytes = pendingBytes;
      pendingBytes = 0;
      await writeAll(file, pending.subarray(0, bytes), receivedBytes - bytes);
    };
    const take = async (chunk: Buffer): Promise<void> => {
      for (let taken = 0; taken < chunk.length; ) {
        const length = Math.min(chunk.length - taken, WRITE_BYTES - pendingBytes);
        chunk.copy(pending, pendingBytes, taken, taken + length);
        taken += length;
        pendingBytes += length;
        receivedBytes += length;
        if (pendingBytes === WRITE_BYTES) await flush();
      }
      passed(chunk.length);
      sinceCheckpoint += chunk.length;
      const isDue = performance.now() - checkpointAtMs >= CHECKPOINT_SECONDS * 1000;
      if (isDue || sinceCheckpoint >= (options.checkpointBytes ?? CHECKPOINT_BYTES)) {
        await flush();
        await checkpoint();
        sinceCheckpoint = 0;
        checkpointAtMs = performance.now();
      }
      options.onProgress(receivedBytes, state.totalBytes);
    };
    let taking: Promise<void> = Promise.resolve();
    const sink = new Writable({
      highWaterMark: WRITE_BYTES,
      write: (chunk: Buffer, _encoding, done) => {
        if (receivedBytes + chunk.length > sizeBytesMax) {
          done(refused(`the file has more than the ${mebibytes(sizeBytesMax)} that are allowed`));
          return;
        }
        for (const hash of hashes.values()) hash.update(chunk);
        taking = take(chunk);
        taking.then(() => done(), done);
      },
    });
    let seenBytes = receivedBytes;
    const watch = setInterval(() => {
      if (receivedBytes - seenBytes < slowest.bytes) response.destroy(passing(`the server ${host} sends next to nothing`));
      seenBytes = receivedBytes;
    }, slowest.seconds * 1000);
    try {
      await pipeline(response, sink, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw isStorageProblem(error) ? storageProblem(error) : connectionProblem(error, host);
    } finally {
      clearInterval(watch);
      response.destroy();
      // A broken connection does not wait for the piece that is being written.
      await taking.catch(() => undefined);
      // What has been counted and digested must be in the file, or the next piece would be written behind a hole.
      await flush();
    }
    if (state.totalBytes !== null && receivedBytes < state.totalBytes) throw passing(`the connection to the server ${host} broke`);
  };

  const attempt = async (): Promise<void> => {
    const range: Record<string, string> =
      receivedBytes > 0 && state.validator !== null ? { range: `bytes=${receivedBytes}-`, 'if-range': state.validator } : {};
    const headers = { 'accept-encoding': 'identity', accept: '*/*', 'user-agent': 'nephos', ...range };
    const { response, host } = await openSource(url, headers, options.source, signal);
    try {
      if (await accept(response, host)) return;
      options.onProgress(receivedBytes, state.totalBytes);
      await readBody(response, host);
    } finally {
      response.destroy();
    }
  };

  try {
    await takeOver();
    let fruitless = 0;
    for (;;) {
      const before = receivedBytes;
      try {
        await attempt();
        break;
      } catch (error) {
        signal.throwIfAborted();
        if (!isPassing(error)) throw error;
        await checkpoint();
        fruitless = receivedBytes - before >= slowest.bytes ? 0 : fruitless + 1;
        const delaySeconds = delaysSeconds[fruitless];
        if (delaySeconds === undefined) throw error;
        await wait(delaySeconds * 1000, undefined, { signal });
      }
    }
    if (receivedBytes === 0) throw refused('the file is empty');
    state = { ...state, totalBytes: receivedBytes };
    await checkpoint();
    return {
      file: path,
      sizeBytes: receivedBytes,
      digests: Object.fromEntries([...hashes].map(([algorithm, hash]) => [algorithm, hash.digest('hex')])),
    };
  } catch (error) {
    throw isStorageProblem(error) ? storageProblem(error) : error;
  } finally {
    await file.close().catch(() => undefined);
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) written += (await file.write(bytes, written, bytes.length - written, position + written)).bytesWritten;
}

async function digestBeginning(file: FileHandle, length: number, hashes: ReadonlyMap<string, Hash>, signal: AbortSignal): Promise<void> {
  const buffer = Buffer.allocUnsafe(4 * 1024 * 1024);
  for (let position = 0; position < length; ) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, length - position), position);
    if (bytesRead === 0) throw new CloudError('Internal', 'the partial download is shorter than it was');
    for (const hash of hashes.values()) hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
}

const storageCodes = ['ENOSPC', 'EDQUOT', 'EIO', 'ESTALE', 'EROFS'];
const isStorageProblem = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' && storageCodes.includes(error.code);
function storageProblem(error: unknown): CloudError {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : '';
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? new CloudError('InsufficientStorage', 'the secondary storage is full', { cause: error })
    : new CloudError('Unreachable', 'the secondary storage does not work', { cause: error });
}
