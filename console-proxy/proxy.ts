/**
 * The console proxy: told of sessions by management, asked for by browsers. It asks nobody when a browser comes, so consoles open and
 * stay open while management is away.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext } from 'node:tls';
import { type WebSocket, WebSocketServer } from 'ws';
import { CloudError } from '../protocol/errors.ts';
import type { Log } from '../protocol/log.ts';
import { type Handler, on } from '../protocol/message.ts';
import type { Beat } from '../protocol/messages/beat.ts';
import {
  ApplyConsoleProxy,
  CloseConsole,
  type ConsoleProxyConfiguration,
  ListConsoles,
  OpenConsole,
} from '../protocol/messages/console.ts';
import type { Id } from '../protocol/schema.ts';
import { clientInput } from './client-input.ts';
import { type PageFiles, pageFiles } from './page/files.ts';
import { pageServer, securityHeaders } from './pages.ts';
import { type Refusal, refusalSentences, type Session, sessionTable } from './session.ts';
import { connectVnc, greetBrowser, pump, SHARED_CLIENT_INIT } from './vnc.ts';

export interface ConsoleProxyOptions {
  readonly log: Log;
  /** Says that sessions came or went. */
  readonly ring: () => void;
  /** Addresses of management servers: they may pass browsers on, and say for whom. */
  readonly managementAddresses: readonly string[];
  readonly ports: { readonly http: number; readonly https: number };
  /** Waited for before anything is bound. */
  readonly networkReady?: Promise<void>;
  /** Where the page's files come from; those carried along where not given. */
  readonly loadPage?: () => Promise<PageFiles>;
  readonly sweepMilliseconds?: number;
  readonly pingMilliseconds?: number;
  readonly now?: () => number;
}
export interface ConsoleProxy {
  readonly handlers: readonly Handler[];
  readonly beat: () => Promise<Beat>;
  readonly close: () => Promise<void>;
  /** The ports that are really bound, for callers that asked for port 0. */
  readonly bound: Promise<{ readonly http: number; readonly https: () => number | null }>;
}

/** A browser sends keys, pointer moves and clipboard; more than this at once is not one. */
const MESSAGE_BYTES_MAX = 256 * 1024;
const CONNECTIONS_MAX = 4000;
/** A close code of our own; its reason is for the user. */
export const ENDED = 4000;
const CLOSE_SECONDS = 3;

const sentence = (text: string): string => (text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`);
/** A close frame has room for 123 bytes. */
const closeReason = (text: string): string => {
  let reason = text;
  while (Buffer.byteLength(reason) > 123) reason = `${reason.slice(0, -2)}…`.replace(/……$/, '…');
  return reason;
};
const plainAddress = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');

export function openConsoleProxy(options: ConsoleProxyOptions): ConsoleProxy {
  const { log, ring, managementAddresses, now = Date.now } = options;
  let configuration: ConsoleProxyConfiguration = { generation: 0, sessionsMax: 50, idleTimeoutSeconds: 300, certificate: null };
  const table = sessionTable(() => configuration);
  /** How to cut a session that is connected. */
  const cuts = new Map<Id<'consoleSession'>, (reason: string) => void>();
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MESSAGE_BYTES_MAX,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has('binary') ? 'binary' : false),
  });
  const servePage = pageServer(options.loadPage ?? pageFiles);
  let closed = false;

  const fromManagement = (request: IncomingMessage): boolean => managementAddresses.includes(plainAddress(request.socket.remoteAddress));
  /** Only a management server is believed about whom it speaks for; it adds the last word of the list itself. */
  const clientOf = (request: IncomingMessage): string => {
    const forwarded = request.headers['x-forwarded-for'];
    const last = String(forwarded ?? '')
      .split(',')
      .at(-1)
      ?.trim();
    return fromManagement(request) && last ? plainAddress(last) : plainAddress(request.socket.remoteAddress);
  };

  const serve = (session: Session, browser: WebSocket): void => {
    const { sessionId, target } = session.told;
    const gone = new AbortController();
    const end = (reason: string): void => {
      if (table.end(sessionId, reason, now())) {
        log.info({ sessionId, machineId: session.told.machineId, reason }, 'console session ended');
        ring();
      }
      cuts.delete(sessionId);
      gone.abort();
    };
    const cut = (reason: string): void => {
      end(reason);
      browser.close(ENDED, closeReason(reason));
      // A browser that does not answer the close keeps its socket no longer than this.
      setTimeout(() => browser.terminate(), CLOSE_SECONDS * 1000).unref();
    };
    cuts.set(sessionId, cut);

    let alive = true;
    const ping = setInterval(() => {
      if (!alive) return browser.terminate();
      alive = false;
      browser.ping();
    }, options.pingMilliseconds ?? 15_000);
    browser.on('pong', () => {
      alive = true;
    });
    browser.on('error', (error) => cut(sentence(`the browser's connection broke: ${error.message}`)));
    browser.on('close', () => {
      clearInterval(ping);
      end('The browser left.');
    });

    const run = async (): Promise<void> => {
      const host = await connectVnc(target, gone.signal);
      gone.signal.addEventListener('abort', () => host.destroy(), { once: true });
      if (gone.signal.aborted) host.destroy();
      host.on('close', () => cut("The machine's screen was closed: it was stopped, restarted or moved."));
      const { listen } = await greetBrowser(browser, gone.signal);
      const sawInput = clientInput();
      const onInput = (chunk: Buffer): void => {
        if (sawInput(chunk)) table.touch(sessionId, now());
      };
      host.write(SHARED_CLIENT_INIT);
      pump(browser, listen, host, onInput);
    };
    run().catch((error: unknown) => {
      if (!gone.signal.aborted) log.warn({ err: error, sessionId, host: target.host, port: target.port }, 'console could not be opened');
      cut(error instanceof CloudError ? sentence(error.message) : 'The console could not be opened.');
    });
  };

  const refuse = (socket: Duplex, status: number, reason: Refusal | string, text: string): void => {
    const body = `${JSON.stringify({ reason, text })}\n`;
    const title = { 400: 'Bad Request', 403: 'Forbidden', 404: 'Not Found', 503: 'Service Unavailable' }[status] ?? 'Refused';
    const headers = [
      `HTTP/1.1 ${status} ${title}`,
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
      'cache-control: no-store',
      ...(status === 503 ? ['retry-after: 5'] : []),
      'connection: close',
    ];
    socket.end(`${headers.join('\r\n')}\r\n\r\n${body}`);
  };

  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer, mustBeSecure: boolean): void => {
    socket.on('error', () => socket.destroy());
    const url = new URL(request.url ?? '/', 'http://proxy');
    if (url.pathname !== '/websockify') {
      refuse(socket, 404, 'path', 'There is nothing here.');
      return;
    }
    if (mustBeSecure) {
      refuse(socket, 403, 'insecure', 'Consoles open over https only.');
      return;
    }
    const token = url.searchParams.get('token') ?? '';
    // A request that cannot become a WebSocket must not use the link up.
    if (request.method !== 'GET' || !request.headers['sec-websocket-key'] || request.headers['sec-websocket-version'] !== '13') {
      refuse(socket, 400, 'upgrade', 'This is not a WebSocket request.');
      return;
    }
    const client = clientOf(request);
    const outcome = table.acquire(token, client, now());
    if ('refusal' in outcome) {
      log.warn({ reason: outcome.refusal, client }, 'console refused');
      refuse(socket, outcome.refusal === 'full' ? 503 : 403, outcome.refusal, refusalSentences[outcome.refusal]);
      return;
    }
    const { session } = outcome;
    log.info({ sessionId: session.told.sessionId, machineId: session.told.machineId, client }, 'console session connected');
    ring();
    // Whatever happens to the socket from here on, also in the midst of the upgrade, the session ends with it.
    socket.once('close', () => {
      if (table.end(session.told.sessionId, 'The browser left.', now())) ring();
    });
    sockets.handleUpgrade(request, socket, head, (browser) => serve(session, browser));
  };

  /** What the page shows instead of a screen; asking does not use the link up. */
  const describe = (token: string, client: string): { state: string; title: string | null; text: string | null } => {
    table.sweep(now());
    const seen = table.look(token, client);
    if (seen === null) return { state: 'Unknown', title: null, text: refusalSentences.unknown };
    const { session, refusal } = seen;
    // The name of the machine is not for whoever came by somebody else's link.
    if (refusal === 'wrong client') return { state: 'Bound', title: null, text: refusalSentences[refusal] };
    const full = session.state === 'Waiting' && table.connected >= configuration.sessionsMax;
    return {
      state: full ? 'Full' : session.state,
      title: session.told.title,
      text: full
        ? refusalSentences.full
        : session.state === 'Ended' && session.acquiredAt === null
          ? session.reason
          : refusal && refusalSentences[refusal],
    };
  };

  const respond = (request: IncomingMessage, response: ServerResponse, mustBeSecure: boolean): void => {
    const plain = (status: number, text: string, headers: Record<string, string> = {}): void => {
      response.writeHead(status, { ...securityHeaders, 'content-type': 'text/plain; charset=utf-8', ...headers }).end(`${text}\n`);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      plain(405, 'Only GET is served here.', { allow: 'GET, HEAD' });
      return;
    }
    const url = URL.canParse(request.url ?? '/', 'http://proxy') ? new URL(request.url ?? '/', 'http://proxy') : null;
    if (url === null) {
      plain(400, 'This address cannot be read.');
      return;
    }
    if (mustBeSecure) {
      const host = /^[A-Za-z0-9.-]+/.exec(request.headers.host ?? '')?.[0];
      if (host === undefined) {
        plain(400, 'Consoles are served over https only.');
        return;
      }
      const port = options.ports.https === 443 ? '' : `:${options.ports.https}`;
      plain(308, 'Consoles are served over https only.', { location: `https://${host}${port}${url.pathname}${url.search}` });
      return;
    }
    if (url.pathname === '/session') {
      const body = JSON.stringify(describe(url.searchParams.get('token') ?? '', clientOf(request)));
      response.writeHead(200, { ...securityHeaders, 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(request.method === 'HEAD' ? undefined : body);
      return;
    }
    if (!servePage(url.pathname, request, response)) plain(404, 'There is nothing here.');
  };

  const bound = <S extends Server | TlsServer>(server: S, secure: boolean): S => {
    server.maxConnections = CONNECTIONS_MAX;
    server.headersTimeout = 10_000;
    server.requestTimeout = 15_000;
    server.keepAliveTimeout = 5_000;
    // With a certificate, plain http is only for management servers, which reach the proxy inside the cloud.
    const mustBeSecure = (request: IncomingMessage): boolean => !secure && configuration.certificate !== null && !fromManagement(request);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => respond(request, response, mustBeSecure(request)));
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      try {
        upgrade(request, socket, head, mustBeSecure(request));
      } catch (error) {
        log.warn({ err: error }, 'console request failed');
        socket.destroy();
      }
    });
    server.on('clientError', (_error: Error, socket: Duplex) => socket.destroy());
    return server;
  };
  const listen = (server: Server | TlsServer, port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port, host: '0.0.0.0', backlog: 1024 }, () => {
        server.off('error', reject);
        server.on('error', (error: Error) => log.error({ err: error }, 'console listener failed'));
        resolve();
      });
    });

  const plainServer = bound(createServer(), false);
  const plainListening = (async () => {
    await options.networkReady;
    if (!closed) await listen(plainServer, options.ports.http);
  })();
  let tlsServer: TlsServer | null = null;

  const applyCertificate = async (certificate: ConsoleProxyConfiguration['certificate']): Promise<void> => {
    if (certificate === null) {
      const server = tlsServer;
      tlsServer = null;
      // Sessions that are open go on; only the listener goes.
      server?.close();
      return;
    }
    const pair = { cert: certificate.chain, key: certificate.key, minVersion: 'TLSv1.2' as const };
    try {
      createSecureContext(pair);
    } catch (cause) {
      throw new CloudError('InvalidParameter', 'the certificate and key for consoles cannot be used', { cause });
    }
    if (tlsServer !== null) return tlsServer.setSecureContext(pair);
    await options.networkReady;
    const server = bound(createTlsServer({ ...pair, handshakeTimeout: 10_000 }), true);
    server.on('tlsClientError', (_error, socket) => socket.destroy());
    await listen(server, options.ports.https);
    tlsServer = server;
  };

  let applying: Promise<unknown> = Promise.resolve();
  const apply = async (wanted: ConsoleProxyConfiguration): Promise<{ generation: number }> => {
    if (wanted.generation < configuration.generation) return { generation: configuration.generation };
    await applyCertificate(wanted.certificate);
    configuration = wanted;
    return { generation: configuration.generation };
  };

  const sweeping = setInterval(() => {
    const { changed, idle } = table.sweep(now());
    for (const sessionId of idle) {
      const minutes = Math.round(configuration.idleTimeoutSeconds / 6) / 10;
      cuts.get(sessionId)?.(`Nobody used the keyboard or mouse for ${minutes} minutes.`);
    }
    if (changed) ring();
  }, options.sweepMilliseconds ?? 1000);
  sweeping.unref();

  const handlers = [
    on(ApplyConsoleProxy, (wanted) => {
      // One after the other: two configurations at once could each start a listener.
      const done = applying.then(() => apply(wanted));
      applying = done.catch(() => undefined);
      return done;
    }),
    on(OpenConsole, async (told) => {
      table.open(told, now());
      return {};
    }),
    on(CloseConsole, async ({ sessionId, reason }) => {
      const cut = cuts.get(sessionId);
      if (cut !== undefined) cut(sentence(reason));
      else if (table.end(sessionId, sentence(reason), now())) ring();
      return {};
    }),
    on(ListConsoles, async () => ({
      sessions: table.list().map(({ told, state, clientAddress, acquiredAt, endedAt }) => ({
        sessionId: told.sessionId,
        state,
        clientAddress,
        acquiredAt,
        endedAt,
      })),
    })),
  ];

  return {
    handlers,
    beat: async () => ({ consoleProxy: { sessions: table.connected } }),
    bound: plainListening.then(() => {
      const portOf = (server: Server | TlsServer): number => {
        const address: AddressInfo | string | null = server.address();
        return typeof address === 'object' && address !== null ? address.port : 0;
      };
      return { http: portOf(plainServer), https: () => (tlsServer === null ? null : portOf(tlsServer)) };
    }),
    close: async () => {
      closed = true;
      clearInterval(sweeping);
      for (const cut of [...cuts.values()]) cut('The console proxy is stopping. Ask for a new console.');
      plainServer.close();
      tlsServer?.close();
      plainServer.closeIdleConnections();
      tlsServer?.closeIdleConnections();
    },
  };
}
