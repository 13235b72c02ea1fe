/** The agents' end of the link: joins, dials, answers asks, sends heartbeats and bells, and renews its certificate in time. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID, X509Certificate } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { CloudError } from '../errors.ts';
import type { PeerKind } from '../kinds.ts';
import type { Log } from '../log.ts';
import type { Handler } from '../message.ts';
import type { Beat, BellSubject } from '../messages/beat.ts';
import { type Answering, openAnswering } from './answering.ts';
import { BEATS_MISSED_MAX, type FrameOf, PROTOCOL_VERSION, type SERVER_KINDS } from './frame.ts';
import { type IdentityStore, type LinkIdentity, renewalTime } from './identity.ts';
import { checkAnswer, join } from './join.ts';
import { proveKey } from './key-proof.ts';
import { dial } from './reconnect.ts';
import { openWire, type Wire } from './wire.ts';

export interface AgentLinkOptions {
  readonly kind: PeerKind;
  readonly id: string;
  /** `host:port` of each management server; dialled in turn from a random one. */
  readonly servers: readonly string[];
  /** First contact. The authority's certificate is accepted only by its SHA-256 (hex of DER). */
  readonly join: { readonly token: string; readonly caSha256: string } | null;
  readonly store: IdentityStore;
  readonly version: string;
  readonly handlers: readonly Handler[];
  /** The body of each heartbeat. */
  readonly beat: () => Promise<Beat>;
  readonly onUp?: () => void;
  readonly log: Log;
}

/** Shortened by tests only. */
export interface AgentLinkTiming {
  /** How long one attempt may take from the dial to an open connection. */
  readonly attemptMs: number;
  readonly welcomeMs: number;
  /** A link that lasted this long was a good one: the next dial starts from short delays again. */
  readonly steadyMs: number;
  readonly renewalRetryMs: number;
  readonly random: () => number;
  readonly now: () => number;
}
const usual: AgentLinkTiming = {
  attemptMs: 20_000,
  welcomeMs: 4000,
  steadyMs: 10_000,
  renewalRetryMs: 60_000,
  random: Math.random,
  now: Date.now,
};

export type AgentLinkState = 'joining' | 'connecting' | 'up' | 'closed';
export interface AgentLink {
  /** «Something about this changed, look.» Rung while there is no link, it rings when there is one again. */
  ring(subject: BellSubject): void;
  beatNow(): void;
  identity(): LinkIdentity | null;
  /** Says goodbye, so that management takes the agent for stopped and not for lost. */
  close(): Promise<void>;
  readonly state: AgentLinkState;
}

export function openAgentLink(options: AgentLinkOptions, timing: Partial<AgentLinkTiming> = {}): AgentLink {
  const { kind, id, store, log, servers } = options;
  if (servers.length === 0) throw new CloudError('InvalidParameter', 'a link needs the address of at least one management server');
  const { attemptMs, welcomeMs, steadyMs, renewalRetryMs, random, now } = { ...usual, ...timing };
  const answering: Answering = openAnswering(options.handlers, log);
  const closing = new AbortController();
  const bells = openBells((subject) => {
    if (wire === null) return false;
    wire.send({ kind: 'bell', name: subject });
    return true;
  });
  let state: AgentLinkState = 'connecting';
  let identity: LinkIdentity | null = null;
  let wire: Wire | null = null;
  let beatNow = (): void => {};
  let joinKeyPem: string | null = null;
  /** Set when management refused the identity for good, for example as revoked; only a token can help then. */
  let identityRefused = false;

  const caSha256Of = (pem: string): string => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();

  const usable = (known: LinkIdentity | null): known is LinkIdentity =>
    known !== null &&
    known.kind === kind &&
    known.id === id &&
    !identityRefused &&
    (options.join === null || (caSha256Of(known.caPem) === options.join.caSha256.toLowerCase() && known.notAfter > now()));

  const ensureIdentity = async (server: string, signal: AbortSignal): Promise<LinkIdentity> => {
    identity ??= await store.read();
    if (usable(identity)) return identity;
    if (options.join === null) {
      throw new CloudError(
        'Unauthenticated',
        identityRefused ? 'management refused the certificate' : 'there is neither a certificate nor a join token',
      );
    }
    state = 'joining';
    joinKeyPem ??= newKeyPem();
    const joined = await join({ server, kind, id, keyPem: joinKeyPem, signal, ...options.join });
    await store.write(joined);
    identity = joined;
    identityRefused = false;
    joinKeyPem = null;
    log.info({ notAfter: new Date(joined.notAfter).toISOString() }, 'joined');
    return joined;
  };

  const attempt = async (server: string, signal: AbortSignal): Promise<Wire> => {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]);
    const mine = await ensureIdentity(server, limited);
    if (state === 'joining') state = 'connecting';
    try {
      return await openWire(server, mine, limited);
    } catch (error) {
      // With a token at hand a refused certificate is given up; without one it is kept, for the refusal may be a mistake on that side.
      if (error instanceof CloudError && error.code === 'Forbidden' && options.join !== null && identity === mine) identityRefused = true;
      throw error;
    }
  };

  const connect = (failures: number | null): Promise<Wire> =>
    dial({
      servers,
      attempt,
      discard: (late) => late.close(),
      sleep: (ms, signal) => wait(ms, undefined, { signal }).catch(() => {}),
      now: () => performance.now(),
      random,
      onFailure: (server, error) => log.warn({ err: error, server }, 'no link'),
      failures,
      signal: closing.signal,
    });

  const greet = async (fresh: Wire): Promise<FrameOf<'welcome'>['body']> => {
    const welcome = fresh.next(welcomeMs);
    fresh.send({ kind: 'hello', body: { kind, id, version: options.version, protocol: PROTOCOL_VERSION } });
    const frame = await welcome;
    if (frame.kind !== 'welcome') throw new CloudError('Unreachable', `instead of a welcome came ${frame.kind}`);
    return frame.body;
  };

  const readBeat = async (limitMs: number): Promise<Beat> => {
    // A heartbeat says that the agent lives. That must not depend on what rides on it.
    const late = new AbortController();
    try {
      const nothing = wait(limitMs, {}, { signal: late.signal }).catch(() => ({}));
      return await Promise.race([options.beat(), nothing]);
    } catch (error) {
      log.error({ err: error }, 'the body of the heartbeat could not be made');
      return {};
    } finally {
      late.abort();
    }
  };

  /** Runs one connection from its welcome to its end. */
  const serve = (up: Wire, beatMs: number): Promise<string> =>
    new Promise((resolve) => {
      let renewal: { id: string; keyPem: string } | null = null;
      let renewAt = identity === null ? Number.POSITIVE_INFINITY : renewalTime(identity.certificatePem);
      let beating = false;
      let beatAgain = false;
      let expectedAt = performance.now() + beatMs;
      /** Not dead before this, whatever was heard. */
      let patientUntil = performance.now() + BEATS_MISSED_MAX * beatMs;

      const beat = async (): Promise<void> => {
        if (beating) {
          beatAgain = true;
          return;
        }
        beating = true;
        const body = await readBeat(beatMs);
        beating = false;
        up.send({ kind: 'beat', body });
        if (beatAgain) {
          beatAgain = false;
          await beat();
        }
      };

      const renew = (): void => {
        if (up.socket === null || now() < renewAt) return;
        renewAt = now() + renewalRetryMs;
        const keyPem = newKeyPem();
        const privateKey = createPrivateKey(keyPem);
        const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).toString('base64');
        renewal = { id: randomUUID(), keyPem };
        const proof = proveKey(up.socket, { purpose: 'renew', kind, id, publicKey, token: '' }, privateKey);
        up.send({ kind: 'renew', id: renewal.id, body: { publicKey, proof } });
      };

      const renewed = async (frame: FrameOf<'renewed'>): Promise<void> => {
        if (renewal === null || identity === null || frame.id !== renewal.id) return;
        const { keyPem } = renewal;
        renewal = null;
        checkAnswer(frame.body, { kind, id, privateKey: createPrivateKey(keyPem), ca: new X509Certificate(identity.caPem) });
        const { certificatePem, notAfter } = frame.body;
        const next = { ...identity, keyPem, certificatePem, notAfter };
        await store.write(next);
        identity = next;
        renewAt = renewalTime(certificatePem);
        log.info({ notAfter: new Date(notAfter).toISOString() }, 'certificate renewed');
      };

      const take = (frame: FrameOf<(typeof SERVER_KINDS)[number]>): void => {
        if (frame.kind === 'ask') answering.take(frame, (text) => up.sendText(text));
        else if (frame.kind === 'cancel') answering.cancel(frame.id);
        else if (frame.kind === 'renewed') renewed(frame).catch((error: unknown) => log.error({ err: error }, 'certificate not renewed'));
        else if (frame.kind === 'refusal') log.error({ refusal: frame.body.message }, 'certificate not renewed');
        else if (frame.kind === 'bye') up.close();
      };

      const timer = setInterval(() => {
        const at = performance.now();
        // When this process stood still itself, what the server sent meanwhile has not been read yet: that is no proof of a dead link.
        if (at - expectedAt > beatMs) patientUntil = at + beatMs;
        expectedAt = at + beatMs;
        if (at > Math.max(patientUntil, up.heardAt + BEATS_MISSED_MAX * beatMs)) return up.destroy('the server has gone silent');
        void beat();
        renew();
      }, beatMs);
      // The first beat goes out at a random moment, so that a thousand agents that came back together do not stay in step.
      const firstBeat = setTimeout(() => void beat(), random() * beatMs);

      up.onFrame(take, (reason) => {
        clearInterval(timer);
        clearTimeout(firstBeat);
        answering.linkLost();
        resolve(reason);
      });
      beatNow = () => void beat();
    });

  const run = async (): Promise<void> => {
    let failures: number | null = null;
    while (!closing.signal.aborted) {
      const fresh = await connect(failures);
      const since = performance.now();
      try {
        const { beatMs, serverId } = await greet(fresh);
        if (closing.signal.aborted) return await fresh.goodbye('the agent stops');
        wire = fresh;
        state = 'up';
        log.info({ server: fresh.server, serverId }, 'link is up');
        const ended = serve(fresh, beatMs);
        bells.ringWaiting();
        options.onUp?.();
        log.warn({ server: fresh.server, reason: await ended }, 'link is gone');
      } catch (error) {
        log.warn({ err: error, server: fresh.server }, 'no welcome');
        fresh.destroy('no welcome');
      }
      wire = null;
      beatNow = () => {};
      if (state === 'up') state = 'connecting';
      failures = performance.now() - since > steadyMs ? 0 : (failures ?? -1) + 1;
    }
  };
  const finished = run().catch((error: unknown) => {
    if (!closing.signal.aborted) log.error({ err: error }, 'the link stopped');
  });

  return {
    ring: bells.ring,
    beatNow: () => beatNow(),
    identity: () => identity,
    async close() {
      state = 'closed';
      closing.abort(new CloudError('Unavailable', 'the link was closed'));
      answering.close();
      bells.close();
      await wire?.goodbye('the agent stops');
      await finished;
    },
    get state() {
      return state;
    },
  };
}

const BELL_PAUSE_MS = 100;

/**
 * A bell rings at once; more for the same subject within the pause ring together at its end. What changes a hundred times a second
 * is looked at ten times, and the last change is never missed.
 */
function openBells(send: (subject: BellSubject) => boolean) {
  const waiting = new Set<BellSubject>();
  const pausing = new Map<BellSubject, NodeJS.Timeout>();
  const ring = (subject: BellSubject): void => {
    if (pausing.has(subject) || !send(subject)) {
      waiting.add(subject);
      return;
    }
    waiting.delete(subject);
    const pause = setTimeout(() => {
      pausing.delete(subject);
      if (waiting.has(subject)) ring(subject);
    }, BELL_PAUSE_MS);
    pausing.set(subject, pause);
  };
  return {
    ring,
    ringWaiting: () => {
      for (const subject of [...waiting]) ring(subject);
    },
    close: () => {
      for (const pause of pausing.values()) clearTimeout(pause);
    },
  };
}

function newKeyPem(): string {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
}
