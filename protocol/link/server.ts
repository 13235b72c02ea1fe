/**
 * Management's end: one TLS port. Without a certificate one can join, and nothing else; with one, open the link and, as a host, fetch
 * files. Who somebody is gets decided in `authenticate` and nowhere else.
 */
import { createHash, type KeyObject } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import { CloudError } from '../errors.ts';
import type { PeerKind } from '../kinds.ts';
import type { Log } from '../log.ts';
import { parse } from '../schema.ts';
import { type DoorLimits, type DoorRefusal, openDoor, usualDoorLimits } from './door.ts';
import { sendFile } from './files.ts';
import { BEATS_MISSED_MAX, FRAME_BYTES_MAX, type JoinAnswer, JoinRequest } from './frame.ts';
import { peerOfNames } from './identity.ts';
import { checkKeyProof } from './key-proof.ts';
import { type Authenticated, type LinkEvents, type OpenLink, openServerLink, type Peer, type ServerLink } from './server-link.ts';

export type { LinkEnd, LinkEvents, Peer, ServerLink } from './server-link.ts';

export type RefusalReason =
  | DoorRefusal
  | 'no-certificate'
  | 'other-authority'
  | 'expired'
  | 'revoked'
  | 'no-identity'
  | 'other-kind'
  | 'other-machine'
  | 'bad-token'
  | 'bad-request'
  | 'bad-frame'
  | 'too-many'
  | 'removed';
export interface Refusal {
  readonly reason: RefusalReason;
  readonly address: string;
  /** Whose certificate or join request it was, as far as that is known. */
  readonly peer: { readonly kind: string; readonly id: string } | null;
  readonly words: string;
}

export interface PresentedCertificate extends Peer {
  readonly serial: string;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
}
export interface JoinClaim extends Peer {
  readonly token: string;
  readonly publicKey: KeyObject;
  /** Of the public key, DER. A token that was used is good once more for the same key, in case the answer was lost. */
  readonly publicKeySha256: string;
  readonly address: string;
}
export interface ServerIdentity {
  readonly id: string;
  readonly keyPem: string;
  readonly chainPem: string;
  readonly caPem: string;
}

export interface LinkServerOptions {
  readonly host?: string;
  readonly port: number;
  readonly identity: ServerIdentity;
  readonly beatMs: number;
  /** Throws `Unauthenticated` when the token is not good. */
  readonly join: (claim: JoinClaim) => Promise<JoinAnswer>;
  readonly renew: (peer: Peer, publicKey: KeyObject) => Promise<JoinAnswer & { serial: string }>;
  readonly isRevoked: (certificate: PresentedCertificate) => Promise<boolean>;
  /** The path of a file that hosts may fetch, or null. */
  readonly file: (name: string) => Promise<string | null>;
  readonly accept: (link: ServerLink) => LinkEvents;
  readonly onRefused: (refusal: Refusal) => void;
  /** The same refusal of the same party is told once in so long; it is counted each time. */
  readonly refusalRepeatMs?: number;
  readonly log: Log;
  readonly door?: Partial<DoorLimits>;
}
export interface LinkServer {
  readonly port: number;
  readonly counts: { readonly links: number; readonly waiting: number; readonly refused: Readonly<Record<string, number>> };
  setIdentity(identity: ServerIdentity): void;
  close(): Promise<void>;
}

const HELLO_MS = 10_000;
const JOIN_BYTES_MAX = 8192;
const JOINS_AT_ONCE_MAX = 64;
const JOIN_FAILURES_PER_MINUTE_MAX = 20;
const FILES_AT_ONCE_MAX = 64;
const ANONYMOUS_MAX = 512;
const REFUSAL_REPEAT_MS = 60_000;
const REFUSALS_TOLD_MAX = 1000;
const UNGREETED_PER_PEER_MAX = 8;
const FILE_NAME = /^\/files\/([A-Za-z0-9][A-Za-z0-9._-]{0,199})$/;

type Authentication =
  | { readonly as: 'anonymous' }
  | { readonly as: 'peer'; readonly peer: Authenticated }
  | { readonly as: 'refused'; readonly reason: RefusalReason; readonly peer: Refusal['peer']; readonly words: string };

export async function openLinkServer(options: LinkServerOptions): Promise<LinkServer> {
  const { log, beatMs } = options;
  const refused: Record<string, number> = {};
  const links = new Set<OpenLink>();
  const ungreeted = new Set<OpenLink>();
  const greetedById = new Map<string, OpenLink>();
  const anonymous = new Set<TLSSocket>();
  const joinFailures = new Map<string, number>();
  const told = new Set<string>();
  const repeatMs = options.refusalRepeatMs ?? REFUSAL_REPEAT_MS;
  let joinsRunning = 0;
  let filesRunning = 0;

  const note = (refusal: Refusal): void => {
    const { reason, address, peer } = refusal;
    refused[reason] = (refused[reason] ?? 0) + 1;
    const key = `${reason} ${address} ${peer?.id}`;
    if (told.has(key)) return;
    // Whoever fills this set with addresses of his own is not told about any more until the next sweep, rather than filling the log.
    if (repeatMs > 0 && told.size < REFUSALS_TOLD_MAX) told.add(key);
    else if (repeatMs > 0) return;
    log.warn({ refusal }, 'refused');
    options.onRefused(refusal);
  };

  /** The one place that decides who is at the other end. */
  const authenticate = async (socket: TLSSocket): Promise<Authentication> => {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return { as: 'anonymous' };
    const peer = peerOfNames(certificate.subjectAltName);
    if (!socket.authorized) {
      const code = String(socket.authorizationError);
      const reason = code.includes('EXPIRED') || code.includes('NOT_YET_VALID') ? 'expired' : 'other-authority';
      return { as: 'refused', reason, peer, words: `the certificate is not accepted (${code})` };
    }
    if (peer === null) return { as: 'refused', reason: 'no-identity', peer, words: 'the certificate names nobody' };
    const { kind, id } = peer;
    if (kind === 'management') return { as: 'refused', reason: 'other-kind', peer, words: 'a management server has no link to itself' };
    const serial = certificate.serialNumber;
    if (await options.isRevoked({ kind, id, serial, notBefore: Date.parse(certificate.validFrom) })) {
      return { as: 'refused', reason: 'revoked', peer, words: 'the certificate is revoked' };
    }
    return { as: 'peer', peer: { kind, id, serial, notAfter: Date.parse(certificate.validTo) } };
  };

  const reply = (response: ServerResponse, status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(body));
  };

  const readBody = async (request: IncomingMessage): Promise<string> => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of request) {
      bytes += chunk.length;
      if (bytes > JOIN_BYTES_MAX) throw new CloudError('BadRequest', 'a join request is smaller than that');
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  };

  const serveJoin = async (request: IncomingMessage, response: ServerResponse, socket: TLSSocket): Promise<void> => {
    const address = socket.remoteAddress ?? '';
    if ((joinFailures.get(address) ?? 0) >= JOIN_FAILURES_PER_MINUTE_MAX) {
      refused['too-many'] = (refused['too-many'] ?? 0) + 1;
      return reply(response, 429, { code: 'TooManyRequests', message: 'too many joins failed from this address; try again in a minute' });
    }
    if (joinsRunning >= JOINS_AT_ONCE_MAX)
      return reply(response, 503, { code: 'Unavailable', message: 'too many agents join at the moment' });
    joinsRunning += 1;
    let peer: Refusal['peer'] = null;
    try {
      const claim = parse(JoinRequest, JSON.parse(await readBody(request)), 'join');
      const { kind, id, token, publicKey, proof } = claim;
      peer = { kind, id };
      const key = checkKeyProof(socket, { purpose: 'join', kind, id, publicKey, token }, proof);
      const publicKeySha256 = createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest('hex');
      const answer = await options.join({ kind, id, token, publicKey: key, publicKeySha256, address });
      const { certificatePem, caPem, notAfter } = answer;
      reply(response, 200, { certificatePem, caPem, notAfter });
      log.info({ kind, id, address }, 'an agent joined');
    } catch (error) {
      const known = error instanceof CloudError || error instanceof SyntaxError;
      const ours = !known || (error instanceof CloudError && (error.code === 'Unavailable' || error.code === 'Internal'));
      if (ours) log.error({ err: error, peer }, 'a join failed');
      else {
        joinFailures.set(address, (joinFailures.get(address) ?? 0) + 1);
        const bad = error instanceof CloudError && error.code === 'Unauthenticated' ? 'bad-token' : 'bad-request';
        note({ reason: bad, address, peer, words: error instanceof Error ? error.message : 'malformed' });
      }
      const shown = error instanceof SyntaxError ? new CloudError('BadRequest', 'a join request must be JSON') : error;
      reply(response, shown instanceof CloudError ? shown.status : 500, CloudError.store(shown));
    } finally {
      joinsRunning -= 1;
    }
  };

  const serveFile = async (request: IncomingMessage, response: ServerResponse, kind: PeerKind): Promise<void> => {
    const name = FILE_NAME.exec(request.url ?? '')?.[1];
    if (kind !== 'host') return reply(response, 403, { code: 'Forbidden', message: 'only hosts may fetch files' });
    const path = name === undefined ? null : await options.file(name);
    if (path === null) return reply(response, 404, { code: 'NotFound', message: 'there is no such file' });
    if (filesRunning >= FILES_AT_ONCE_MAX)
      return reply(response, 503, { code: 'Unavailable', message: 'too many files are being fetched' });
    filesRunning += 1;
    try {
      await sendFile(request, response, path);
    } finally {
      filesRunning -= 1;
    }
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { socket } = request;
    if (!(socket instanceof TLSSocket)) return void socket.destroy();
    const who = await authenticate(socket);
    const address = socket.remoteAddress ?? '';
    if (who.as === 'refused') {
      note({ reason: who.reason, address, peer: who.peer, words: who.words });
      return reply(response, 403, { code: 'Forbidden', message: who.words });
    }
    if (request.method === 'POST' && request.url === '/join') return await serveJoin(request, response, socket);
    if (who.as === 'anonymous') {
      note({ reason: 'no-certificate', address, peer: null, words: `${request.method} without a certificate` });
      return reply(response, 403, { code: 'Forbidden', message: 'a client certificate is needed' });
    }
    if (request.method === 'GET' || request.method === 'HEAD') return await serveFile(request, response, who.peer.kind);
    reply(response, 404, { code: 'NotFound', message: 'there is nothing here' });
  };

  const sockets = new WebSocketServer({ noServer: true, maxPayload: FRAME_BYTES_MAX, perMessageDeflate: false, clientTracking: false });

  const greeted = (link: OpenLink): LinkEvents => {
    ungreeted.delete(link);
    const before = greetedById.get(link.peer.id);
    greetedById.set(link.peer.id, link);
    const events = options.accept(link);
    before?.end('replaced', 'the agent opened a new link');
    return events;
  };
  const gone = (link: OpenLink): void => {
    links.delete(link);
    ungreeted.delete(link);
    if (greetedById.get(link.peer.id) === link) greetedById.delete(link.peer.id);
  };

  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    if (!(socket instanceof TLSSocket)) return void socket.destroy();
    socket.on('error', () => {});
    const who = await authenticate(socket);
    const address = socket.remoteAddress ?? '';
    const turnAway = (reason: RefusalReason, peer: Refusal['peer'], words: string): void => {
      note({ reason, address, peer, words });
      socket.end(
        `HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(words)}\r\n\r\n${words}`,
      );
      socket.once('finish', () => socket.destroy());
    };
    if (who.as === 'anonymous') return turnAway('no-certificate', null, 'a client certificate is needed');
    if (who.as === 'refused') return turnAway(who.reason, who.peer, who.words);
    const { peer } = who;
    if (request.url !== '/link') return turnAway('bad-request', peer, 'the link is at /link');
    if ([...ungreeted].filter((link) => link.peer.id === peer.id).length >= UNGREETED_PER_PEER_MAX) {
      return turnAway('too-many', peer, 'too many connections without a hello');
    }
    if (socket.destroyed) return;
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const link = openServerLink(webSocket, socket, peer, {
        serverId: options.identity.id,
        beatMs,
        log,
        renew: options.renew,
        refused: (reason, { kind, id, address: from }, words) => note({ reason, address: from, peer: { kind, id }, words }),
        greeted,
        gone,
      });
      links.add(link);
      ungreeted.add(link);
    });
  };

  const tlsOptions = (identity: ServerIdentity) => ({
    key: identity.keyPem,
    cert: identity.chainPem,
    ca: identity.caPem,
    minVersion: 'TLSv1.3' as const,
  });
  const https = createHttpsServer({
    ...tlsOptions(options.identity),
    requestCert: true,
    // Who comes to join has no certificate; `authenticate` decides about all others.
    rejectUnauthorized: false,
    handshakeTimeout: options.door?.handshakeMs ?? usualDoorLimits.handshakeMs,
    headersTimeout: 10_000,
    requestTimeout: 20_000,
    connectionsCheckingInterval: 2000,
    maxHeaderSize: 8192,
    keepAliveTimeout: 5000,
  });
  const failed = (socket: Duplex) => (error: unknown) => {
    log.error({ err: error }, 'a request on the link port failed');
    socket.destroy();
  };
  https.on('request', (request, response) => void serve(request, response).catch(failed(request.socket)));
  https.on('upgrade', (request, socket, head) => void upgrade(request, socket, head).catch(failed(socket)));
  https.on('secureConnection', (socket) => {
    door.passed(socket.remoteAddress, socket.remotePort);
    if (socket.getPeerX509Certificate() !== undefined) return;
    anonymous.add(socket);
    socket.once('close', () => anonymous.delete(socket));
    if (anonymous.size > ANONYMOUS_MAX) anonymous.values().next().value?.destroy();
  });
  https.on('tlsClientError', (error, socket) => {
    refused['handshake'] = (refused['handshake'] ?? 0) + 1;
    log.debug({ err: error }, 'handshake failed');
    socket.destroy();
  });
  https.on('clientError', (_error, socket) => socket.destroy());

  const door = openDoor({
    limits: { ...usualDoorLimits, ...options.door },
    begin: (socket) => https.emit('connection', socket),
    // Not worth an alert each: port scans and cut connections are everyday things.
    onRefused: (reason) => {
      refused[reason] = (refused[reason] ?? 0) + 1;
    },
  });

  const turnMs = Math.min(1000, beatMs);
  let turnedAt = performance.now();
  const wheel = setInterval(() => {
    const now = performance.now();
    const lateMs = now - turnedAt - turnMs;
    turnedAt = now;
    // When this process itself stood still, what agents sent meanwhile lies unread in the sockets; they are judged at the next turn.
    if (lateMs > beatMs / 2) return;
    for (const link of ungreeted) if (now - link.openedAt > HELLO_MS) link.end('lost', 'no hello came');
    for (const link of links) {
      if (now - link.lastSeen > BEATS_MISSED_MAX * beatMs) link.end('lost', `nothing was heard for ${BEATS_MISSED_MAX} heartbeats`);
      else link.turn();
    }
  }, turnMs);
  const forgiving = setInterval(() => joinFailures.clear(), 60_000);
  forgiving.unref();
  const forgetting = setInterval(() => told.clear(), Math.max(repeatMs, 1000));
  forgetting.unref();

  const listener = createServer({ pauseOnConnect: false, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 }, (socket) =>
    door.enter(socket),
  );
  await new Promise<void>((resolve, reject) => {
    listener.once('error', (cause) => reject(new CloudError('Unavailable', `port ${options.port} cannot be opened`, { cause })));
    listener.listen({ port: options.port, backlog: 4096, ...(options.host === undefined ? {} : { host: options.host }) }, resolve);
  });
  listener.on('error', (error) => log.error({ err: error }, 'the link port has an error'));

  return {
    port: (listener.address() as AddressInfo).port,
    get counts() {
      return { links: greetedById.size, waiting: door.waitingCount, refused };
    },
    setIdentity: (identity) => https.setSecureContext(tlsOptions(identity)),
    async close() {
      clearInterval(wheel);
      clearInterval(forgiving);
      clearInterval(forgetting);
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      for (const link of links) link.end('closed', 'the management server stops');
      door.close();
      https.closeAllConnections();
      await closed;
    },
  };
}
