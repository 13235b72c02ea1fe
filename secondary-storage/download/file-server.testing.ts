/** A web server for tests, with the faults that real ones have. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

export interface FileServer {
  readonly port: number;
  readonly url: string;
  readonly requests: IncomingMessage[];
  readonly close: () => Promise<void>;
}
export interface FileServerOptions {
  readonly content?: Buffer;
  readonly tag?: string | null;
  readonly ranges?: boolean;
  /** Cuts the connection after so many bytes of a body, for the first requests. */
  readonly cuts?: number[];
  /** Answers instead of serving the file; true when it did. */
  readonly answer?: (request: IncomingMessage, response: ServerResponse, index: number) => boolean;
  readonly tls?: { readonly key: string; readonly cert: string };
  readonly host?: string;
}

export function startFileServer({
  content = Buffer.alloc(0),
  tag,
  ranges = true,
  cuts = [],
  answer = () => false,
  tls,
  host = '127.0.0.1',
}: FileServerOptions): Promise<FileServer> {
  const requests: IncomingMessage[] = [];
  const etag = tag === undefined ? `"${createHash('sha256').update(content).digest('hex').slice(0, 16)}"` : tag;
  const listener: RequestListener = (request, response) => {
    requests.push(request);
    if (answer(request, response, requests.length - 1)) return;
    const range = ranges ? /^bytes=(\d+)-$/.exec(request.headers.range ?? '') : null;
    const same = request.headers['if-range'] === undefined || request.headers['if-range'] === etag;
    const first = range !== null && same ? Number(range[1]) : 0;
    const headers = { ...(etag === null ? {} : { etag }), 'content-length': content.length - first };
    if (range !== null && same && first >= content.length) {
      response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
      return;
    }
    if (first > 0) response.writeHead(206, { ...headers, 'content-range': `bytes ${first}-${content.length - 1}/${content.length}` });
    else response.writeHead(200, headers);
    const cut = cuts.shift();
    if (cut === undefined) {
      response.end(content.subarray(first));
      return;
    }
    response.write(content.subarray(first, first + cut), () => setTimeout(() => response.socket?.destroy(), 20));
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  return new Promise((resolve) => {
    server.listen(0, host, () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      resolve({
        port,
        url: `${tls === undefined ? 'http' : 'https'}://${host}:${port}/image`,
        requests,
        close: () => {
          server.closeAllConnections();
          return new Promise((closed) => server.close(() => closed()));
        },
      });
    });
  });
}
