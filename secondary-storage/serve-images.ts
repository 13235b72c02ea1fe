/** Gives images to hosts: `GET /images/<id>` over mutual TLS, whole or in ranges. Nobody but a host of this cloud is answered. */
import { createReadStream } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { TLSSocket } from 'node:tls';
import { type LinkIdentity, peerOf, serverTls } from '../protocol/link/identity.ts';
import type { Log } from '../protocol/log.ts';
import { type Id, isUuid } from '../protocol/schema.ts';
import { imageFolder, readStoredImage } from './stored-image.ts';

export const IMAGES_PORT = 8210;
const READ_BYTES = 1024 * 1024;
const CONNECTIONS_MAX = 512;

export interface ImageServerOptions {
  readonly log: Log;
  readonly identity: () => LinkIdentity | null;
  /** Folders of the stores that are open. */
  readonly folders: () => readonly string[];
  /** A host that was removed keeps its certificate until that runs out. */
  readonly isRemovedHost: (id: string) => boolean;
  readonly port: number;
  readonly networkReady?: Promise<void>;
}
export interface ImageServer {
  /** To be called when the identity may have come or changed. Repeatable. */
  readonly refresh: () => Promise<void>;
  readonly port: () => number | null;
  readonly close: () => Promise<void>;
}

const isImageId = (text: string): text is Id<'template'> => isUuid(text);

async function findImage(
  folders: readonly string[],
  imageId: Id<'template'>,
): Promise<{ path: string; sizeBytes: number; sha256: string } | null> {
  for (const folder of folders) {
    const image = await readStoredImage(folder, imageId).catch(() => null);
    if (image !== null)
      return { path: join(imageFolder(folder, imageId), image.fileName), sizeBytes: image.sizeBytes, sha256: image.sha256 };
  }
  return null;
}

/** The bytes asked for, both ends included; null for all, 'none' for a range outside the file. Several ranges at once are not served. */
export function parseRange(header: string | undefined, sizeBytes: number): { first: number; last: number } | null | 'none' {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) return null;
  if (match[1] === '') {
    const length = Number(match[2]);
    return length === 0 ? 'none' : { first: Math.max(0, sizeBytes - length), last: sizeBytes - 1 };
  }
  const first = Number(match[1]);
  const last = match[2] === '' ? sizeBytes - 1 : Math.min(Number(match[2]), sizeBytes - 1);
  if (last < first && first < sizeBytes) return null;
  return first >= sizeBytes ? 'none' : { first, last };
}

export function openImageServer(options: ImageServerOptions): ImageServer {
  const { log } = options;
  let server: Server | null = null;
  let served: LinkIdentity | null = null;

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const end = (status: number, headers: Record<string, string | number> = {}): void => void response.writeHead(status, headers).end();
    const peer = request.socket instanceof TLSSocket ? peerOf(request.socket.getPeerCertificate()) : null;
    if (peer?.kind !== 'host' || options.isRemovedHost(peer.id)) {
      log.warn({ peer, address: request.socket.remoteAddress }, 'image refused: not a host of this cloud');
      return end(403);
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return end(405, { allow: 'GET, HEAD' });
    const imageId = /^\/images\/([^/?]+)$/.exec(request.url ?? '')?.[1] ?? '';
    const image = isImageId(imageId) ? await findImage(options.folders(), imageId) : null;
    if (image === null) return end(404);
    const { path, sizeBytes, sha256 } = image;
    const tag = `"${sha256}"`;
    const headers = { 'accept-ranges': 'bytes', etag: tag, 'content-type': 'application/octet-stream' };
    const ifRange = request.headers['if-range'];
    const range = ifRange === undefined || ifRange === tag ? parseRange(request.headers.range, sizeBytes) : null;
    if (range === 'none') return end(416, { ...headers, 'content-range': `bytes */${sizeBytes}` });
    const { first, last } = range ?? { first: 0, last: sizeBytes - 1 };
    response.writeHead(range === null ? 200 : 206, {
      ...headers,
      'content-length': last - first + 1,
      ...(range === null ? {} : { 'content-range': `bytes ${first}-${last}/${sizeBytes}` }),
    });
    if (request.method === 'HEAD') return void response.end();
    await pipeline(createReadStream(path, { start: first, end: last, highWaterMark: READ_BYTES }), response);
  };

  const listen = async (identity: LinkIdentity): Promise<void> => {
    await options.networkReady;
    const opened = createServer({ ...serverTls(identity), handshakeTimeout: 10_000 }, (request, response) => {
      answer(request, response).catch((error: unknown) => {
        log.info({ err: error }, 'image was not sent to its end');
        response.destroy();
      });
    });
    opened.maxConnections = CONNECTIONS_MAX;
    opened.headersTimeout = 10_000;
    opened.requestTimeout = 30_000;
    opened.keepAliveTimeout = 30_000;
    opened.timeout = 120_000;
    opened.on('tlsClientError', (error, socket) => {
      log.warn({ reason: error.message, address: socket.remoteAddress }, 'image refused: no certificate of this cloud');
      socket.destroy();
    });
    await new Promise<void>((resolve, reject) => {
      opened.once('error', reject);
      opened.listen(options.port, '0.0.0.0', () => {
        opened.off('error', reject);
        resolve();
      });
    });
    opened.on('error', (error) => log.error({ err: error }, 'image listener failed'));
    server = opened;
  };

  let refreshing: Promise<void> = Promise.resolve();
  return {
    refresh: () => {
      refreshing = refreshing
        .then(async () => {
          const identity = options.identity();
          if (identity === null || identity.certificatePem === served?.certificatePem) return;
          if (server === null) await listen(identity);
          else server.setSecureContext(serverTls(identity));
          served = identity;
        })
        .catch((error: unknown) => log.error({ err: error }, 'images cannot be served'));
      return refreshing;
    },
    port: () => {
      const address = server?.address();
      return typeof address === 'object' && address !== null ? address.port : null;
    },
    close: async () => {
      await refreshing;
      server?.close();
      server?.closeAllConnections();
      server = null;
    },
  };
}
