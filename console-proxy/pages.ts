/** The files of the console page over HTTP: small, fixed, compressed once. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { PageFiles } from './page/files.ts';

const FOLDER = '/resource/noVNC/';
const types: Record<string, string> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
};

/**
 * No inline script or style, nothing from elsewhere, no frames. `data:` is for the mouse pointer that noVNC draws; the worker-free,
 * eval-free rest needs nothing more.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
].join('; ');

export const securityHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

interface Ready {
  readonly type: string;
  readonly plain: Buffer;
  readonly gzip: Buffer;
  readonly tag: string;
}

/** Answers requests for the page's files; false for any other path. */
export function pageServer(load: () => Promise<PageFiles>): (path: string, request: IncomingMessage, response: ServerResponse) => boolean {
  let ready: Promise<ReadonlyMap<string, Ready>> | null = null;
  const prepare = async (): Promise<ReadonlyMap<string, Ready>> => {
    const files = await load();
    return new Map(
      Object.entries(files).map(([name, text]) => {
        const plain = Buffer.from(text, 'utf8');
        const tag = `"${createHash('sha256').update(plain).digest('base64url').slice(0, 22)}"`;
        return [
          FOLDER + name,
          { type: types[name.split('.').at(-1) ?? ''] ?? 'text/plain; charset=utf-8', plain, gzip: gzipSync(plain), tag },
        ];
      }),
    );
  };
  const send = async (path: string, request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const file = (await (ready ??= prepare())).get(path);
    if (file === undefined) {
      response.writeHead(404, { ...securityHeaders, 'content-type': 'text/plain; charset=utf-8' }).end('There is no such page.\n');
      return;
    }
    const headers = { ...securityHeaders, 'content-type': file.type, 'cache-control': 'no-cache', etag: file.tag, vary: 'accept-encoding' };
    if (request.headers['if-none-match'] === file.tag) {
      response.writeHead(304, headers).end();
      return;
    }
    const zipped = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
    const body = zipped ? file.gzip : file.plain;
    response.writeHead(200, { ...headers, 'content-length': body.length, ...(zipped ? { 'content-encoding': 'gzip' } : {}) });
    response.end(request.method === 'HEAD' ? undefined : body);
  };
  return (path, request, response) => {
    if (!path.startsWith(FOLDER)) return false;
    send(path, request, response).catch(() => response.destroy());
    return true;
  };
}
