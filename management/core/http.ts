/** The only file that knows express: the query API at /client/api, health, metrics, and what areas mount beside it. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import express, { type NextFunction, type Request, type RequestHandler, type Response } from 'express';
import { CloudError } from '../../protocol/errors.ts';
import type { Secret } from '../../protocol/schema.ts';
import { closeSession, findSession, openSession, sessionTimeoutMinutes } from './auth/session.ts';
import { checkExpiry, enforcePostAndTimestamps, isSigned, notVerified, onlyReads } from './auth/signature.ts';
import { envelopeOf, newRequestId, type Registry } from './command.ts';
import { type Caller, isRootAdmin, type Session } from './context.ts';
import { databaseError } from './db.ts';
import type { Metrics } from './metrics.ts';
import { equalSecrets } from './secrets.ts';
import type { Services } from './services.ts';
import { contentType, errorBody, errorText, type Format, mergeParams, rawParams, serialize } from './wire.ts';

/** How callers are found; the account area gives it. */
export interface Callers {
  byApiKey: (apiKey: string) => Promise<{ caller: Caller; secretKey: Secret } | null>;
  byUserId: (userId: Caller['userId']) => Promise<Caller | null>;
}
export interface Mount {
  /** Path prefix such as /console. */
  readonly path: string;
  readonly handle: (request: IncomingMessage, response: Response) => void;
  readonly upgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
}
export interface HttpOptions {
  readonly services: Services;
  readonly registry: Registry;
  readonly callers: Callers;
  readonly metrics: Metrics;
  readonly mounts: readonly Mount[];
  readonly health: () => Promise<Record<string, boolean>>;
  /** How long health may take to be found out. */
  readonly healthMs?: number;
}

const HEALTH_MS = 3000;
const BODY_BYTES_MAX = 1024 * 1024;
const NOBODY: Caller = {
  userId: '' as Caller['userId'],
  userName: '',
  accountId: '' as Caller['accountId'],
  accountName: '',
  accountType: 'user',
  domainId: '' as Caller['domainId'],
  domainPath: '/',
  roleName: '',
};

export function createHttpServer(options: HttpOptions): Server {
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  app.use((_request, response, next) => {
    response.setHeader('X-Content-Type-Options', 'nosniff');
    response.setHeader('X-Frame-Options', 'SAMEORIGIN');
    next();
  });
  const health = oneLook(options.health, options.healthMs ?? HEALTH_MS);
  app.get(
    '/healthz',
    asyncHandler(async (_request, response) => {
      const parts = await health();
      const healthy = parts !== null && Object.values(parts).every(Boolean);
      response.status(healthy ? 200 : 503).json({ healthy, ...parts });
    }),
  );
  app.get(
    '/metrics',
    asyncHandler(async (_request, response) => {
      response.type('text/plain; version=0.0.4; charset=utf-8').send(await options.metrics.text());
    }),
  );
  app.all(
    /^\/client\/api(\/.*)?$/,
    express.text({ type: () => true, limit: BODY_BYTES_MAX, defaultCharset: 'utf-8' }),
    asyncHandler((request, response) => callApi(options, request, response)),
  );
  for (const mount of options.mounts) app.use(mount.path, (request, response) => mount.handle(request, response));
  app.get('/', (_request, response) => {
    response.setHeader('Content-Security-Policy', NOTHING_ACTIVE).type('html').send(FRONT_PAGE);
  });
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    const status =
      typeof error === 'object' && error !== null && 'status' in error && typeof error.status === 'number' ? error.status : 500;
    if (status >= 500) options.services.log.error({ err: error }, 'request failed');
    response
      .status(status)
      .type('text/plain')
      .send(status === 413 ? 'The request body is larger than 1 MiB.' : 'The request could not be understood.');
  });
  const server = createServer({ maxHeaderSize: 65_536 }, app);
  server.headersTimeout = 20_000;
  server.requestTimeout = 300_000;
  server.keepAliveTimeout = 65_000;
  const requests = new Set<unknown>();
  const upgraded = new Set<Duplex>();
  atHand.set(server, { requests, upgraded });
  server.on('request', (_request, response) => {
    requests.add(response);
    response.once('close', () => requests.delete(response));
  });
  server.on('upgrade', (request, socket, head) => {
    upgraded.add(socket);
    socket.once('close', () => upgraded.delete(socket));
    // From here on nobody else listens: without this, a client that breaks off would end the process.
    socket.on('error', () => socket.destroy());
    const mount = options.mounts.find(({ path, upgrade }) => upgrade && (request.url === path || request.url?.startsWith(`${path}/`)));
    if (mount?.upgrade) mount.upgrade(request, socket, head);
    else socket.destroy();
  });
  return server;
}

/** What a server has at hand: requests that are not answered yet, and sockets that have left HTTP, such as open consoles. */
const atHand = new WeakMap<Server, { readonly requests: Set<unknown>; readonly upgraded: Set<Duplex> }>();
const CLOSE_CHECK_MS = 20;

/** Takes no more requests, answers those it has within the grace, and lets everything else go. */
export async function closeHttpServer(server: Server, graceMs = 5000): Promise<void> {
  const closed = new Promise<void>((done) => server.close(() => done()));
  const { requests, upgraded } = atHand.get(server) ?? { requests: new Set(), upgraded: new Set<Duplex>() };
  for (const until = Date.now() + graceMs; requests.size > 0 && Date.now() < until; )
    await new Promise((done) => setTimeout(done, CLOSE_CHECK_MS));
  server.closeAllConnections();
  for (const socket of upgraded) socket.destroy();
  await closed;
}

/** One look at a time, for whoever asks; null when it fails or takes too long. */
function oneLook(look: HttpOptions['health'], limitMs: number): () => Promise<Record<string, boolean> | null> {
  let looking: Promise<Record<string, boolean> | null> | null = null;
  return () => {
    looking ??= new Promise<Record<string, boolean> | null>((resolve) => {
      setTimeout(resolve, limitMs, null).unref();
      look().then(resolve, () => resolve(null));
    }).finally(() => {
      looking = null;
    });
    return looking;
  };
}

const asyncHandler =
  (handle: (request: Request, response: Response) => Promise<void>): RequestHandler =>
  (request, response, next) => {
    handle(request, response).catch(next);
  };

interface Exchange {
  readonly options: HttpOptions;
  readonly request: Request;
  readonly response: Response;
  readonly pairs: [string, string][];
  readonly get: (name: string) => string | undefined;
  readonly cookies: ReadonlyMap<string, string>;
  readonly requestId: string;
}

async function callApi(options: HttpOptions, request: Request, response: Response): Promise<void> {
  const started = process.hrtime.bigint();
  const requestId = newRequestId();
  const { services } = options;
  const queryAt = request.originalUrl.indexOf('?');
  const form = typeof request.body === 'string' && request.method !== 'GET' ? request.body : '';
  const pairs = mergeParams(queryAt < 0 ? '' : request.originalUrl.slice(queryAt + 1), form);
  const lower = new Map(pairs.map(([name, value]) => [name.toLowerCase(), value]));
  const get = (name: string) => lower.get(name);
  const format: Format = get('response')?.toLowerCase() === 'json' ? 'json' : 'xml';
  response.setHeader('X-Request-Id', requestId);
  const foreign = isFromAnotherSite(request);
  // The page of another site did not get these cookies from us, whatever the browser sends along.
  const cookies = foreign ? new Map<string, string>() : cookiesOf(request);
  const exchange: Exchange = { options, request, response, pairs, get, cookies, requestId };
  const name = get('command') ?? '';
  let found = options.registry.find(name);
  // The login family is found in any case.
  if (!found && /^log(in|out)$/i.test(name)) found = options.registry.find(name.toLowerCase());
  let caller: Caller | null = null;
  let status = 200;
  try {
    if (request.method !== 'POST' && services.settings.get(enforcePostAndTimestamps) && !onlyReads(name))
      throw new CloudError('BadRequest', 'Commands that change something are taken by POST only');
    if (found?.access === 'public') caller = NOBODY;
    else caller = await authenticate(exchange, found !== undefined);
    if (!found) {
      throw name === ''
        ? new CloudError('BadRequest', 'The request names no command')
        : new CloudError('UnknownCommand', `The given command '${name.slice(0, 100)}' does not exist or it is not available for user`);
    }
    if (found.name === 'login' && request.method !== 'POST') {
      status = 405;
      response.status(405).type('text/plain').send('Please use HTTP POST to authenticate using this API');
      return;
    }
    if (found.name === 'login' && foreign) throw new CloudError('LoginFailed', 'A login from the page of another site is not taken');
    const inner = { ...services, session: sessionOf(exchange) };
    const body = await options.registry.call(found, inner, caller, rawParams(pairs), requestId);
    send(response, 200, format, envelopeOf(found), body, caller !== NOBODY);
  } catch (thrown) {
    const error = asCloudError(databaseError(thrown));
    status = error.status;
    const admin = caller !== null && caller !== NOBODY && isRootAdmin(caller);
    if (error.status >= 530 || error.code === 'Internal') services.log.warn({ err: thrown, requestId, command: name }, 'command failed');
    const root = found && error.code !== 'UnknownCommand' ? envelopeOf(found) : 'errorresponse';
    response.setHeader(
      'X-Description',
      errorText(error, admin)
        .replace(/[\r\n]+/g, ' ')
        .replace(/[^\x20-\x7e]/g, '?')
        .slice(0, 1000),
    );
    send(response, error.status, format, root, errorBody(error, admin), caller !== null && caller !== NOBODY);
  } finally {
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    options.metrics.apiCall(found?.name ?? 'unknown', status, seconds);
    services.log[status < 400 && onlyReads(name) ? 'debug' : 'info'](
      {
        requestId,
        command: found?.name ?? 'unknown',
        status,
        seconds,
        address: addressOf(request),
        ...(caller === null || caller === NOBODY ? {} : { account: caller.accountId, user: caller.userId }),
      },
      'API call',
    );
  }
}

function send(response: Response, status: number, format: Format, root: string, body: Record<string, unknown>, versioned: boolean): void {
  response.status(status).setHeader('Content-Type', contentType(format));
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('Content-Security-Policy', NOTHING_ACTIVE);
  response.end(serialize(format, root, body, { versioned }));
}

const asCloudError = (error: unknown): CloudError =>
  error instanceof CloudError ? error : new CloudError('Internal', 'an internal error happened; the log has the details', { cause: error });

/** A live session wins over a signature; a wrong session key ends the session. */
async function authenticate({ options, get, cookies, pairs }: Exchange, known: boolean): Promise<Caller> {
  const { services, callers } = options;
  const cookie = cookies.get('JSESSIONID');
  const session = cookie ? await findSession(services.db, cookie, services.settings.get(sessionTimeoutMinutes)) : null;
  if (cookie && session) {
    const parameter = get('sessionkey');
    const keyCookie = cookies.get('sessionkey');
    const caller = await callers.byUserId(session.userId);
    if (!caller || !parameter || !keyCookie || !equalSecrets(parameter, keyCookie) || !session.keyMatches(parameter)) {
      await closeSession(services.db, cookie);
      throw new CloudError('Unauthenticated', 'unable to verify user credentials');
    }
    return caller;
  }
  const apiKey = get('apikey');
  const signature = get('signature');
  if (!apiKey || !signature) throw new CloudError('Unauthenticated', 'unable to verify user credentials');
  checkExpiry(get('signatureversion'), get('expires'), Date.now(), { enforced: services.settings.get(enforcePostAndTimestamps) });
  const user = await callers.byApiKey(apiKey);
  if (!user || !isSigned(pairs, signature, user.secretKey.reveal()) || !known) throw notVerified();
  return user.caller;
}

function sessionOf({ options: { services }, request, response, cookies }: Exchange): Session {
  const old = cookies.get('JSESSIONID');
  return {
    clientAddress: addressOf(request),
    open: async (userId) => {
      if (old) await closeSession(services.db, old);
      const { id, sessionKey } = await openSession(services.db, userId);
      const secure = request.secure ? '; Secure' : '';
      response.setHeader('Set-Cookie', [
        `JSESSIONID=${id}; Path=/client; HttpOnly; SameSite=Lax${secure}`,
        `sessionkey=${sessionKey}; HttpOnly; SameSite=Lax${secure}`,
      ]);
      return sessionKey;
    },
    close: async () => {
      const live = old ? await findSession(services.db, old, services.settings.get(sessionTimeoutMinutes)) : null;
      if (old) await closeSession(services.db, old);
      response.setHeader(
        'Set-Cookie',
        [...cookies.keys()]
          .filter((name) => /^[\w-]+$/.test(name))
          .flatMap((name) => [`${name}=; Path=/client; Max-Age=0`, `${name}=; Max-Age=0`]),
      );
      return live !== null;
    },
  };
}

const addressOf = (request: IncomingMessage): string => (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');

/** What browsers say of themselves. Other clients say nothing, and have no visitor whose cookies they could abuse. */
function isFromAnotherSite({ headers }: IncomingMessage): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'cross-site';
  if (headers.origin === undefined) return false;
  // Ports may differ behind a proxy.
  return !URL.canParse(headers.origin) || new URL(headers.origin).hostname !== hostnameOf(headers.host ?? '');
}
const hostnameOf = (host: string): string | null => (URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : null);

function cookiesOf(request: IncomingMessage): Map<string, string> {
  const cookies = new Map<string, string>();
  for (const each of (request.headers.cookie ?? '').split(';')) {
    const at = each.indexOf('=');
    if (at > 0 && !cookies.has(each.slice(0, at).trim()))
      cookies.set(
        each.slice(0, at).trim(),
        each
          .slice(at + 1)
          .trim()
          .replace(/^"(.*)"$/, '$1'),
      );
  }
  return cookies;
}

const NOTHING_ACTIVE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const FRONT_PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Nephos</title>
<body><h1>Nephos</h1><p>The API answers at <code>/client/api</code>; health at <a href="/healthz">/healthz</a>, metrics at <a href="/metrics">/metrics</a>.</p></body></html>`;
