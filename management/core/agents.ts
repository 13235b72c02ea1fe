/** The hub: which agents are linked here, asking them, and keeping the record of their states true. */
import type { KeyObject } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { CloudError } from '../../protocol/errors.ts';
import type { PeerKind } from '../../protocol/kinds.ts';
import { BEATS_MISSED_MAX } from '../../protocol/link/frame.ts';
import { renewalTime } from '../../protocol/link/identity.ts';
import {
  type JoinClaim,
  type LinkEvents,
  type LinkServer,
  openLinkServer,
  type Peer,
  type PresentedCertificate,
  type Refusal,
  type ServerLink,
} from '../../protocol/link/server.ts';
import type { Log } from '../../protocol/log.ts';
import type { Call } from '../../protocol/message.ts';
import type { Beat, BellSubject } from '../../protocol/messages/beat.ts';
import { type AskOutcome, Station } from './agents-station.ts';
import type { Certificates, ManagementCertificate } from './certificates.ts';
import { sha256Hex } from './secrets.ts';

export type { Peer, PresentedCertificate, Refusal } from '../../protocol/link/server.ts';

/** What the hub needs written down. Each change of state is `agentStates` moved by the event named in its comment. */
export interface AgentRecords {
  /**
   * Throws `Unauthenticated` unless the token was made for this kind and id, is younger than ten minutes, and was not used before with
   * another key. With the same key it may be used again until it expires: the answer to the first use may have been lost.
   */
  readonly useJoinToken: (claim: Peer & { tokenSha256: string; publicKeySha256: string; address: string }) => Promise<void>;
  /** A certificate is about to be handed out, at a join or a renewal. Throws for an agent that must not have one any more. */
  readonly issued: (peer: Peer, certificate: { serial: string; notAfter: number }) => Promise<void>;
  /** Asked at each connection; should answer from memory. */
  readonly isRevoked: (certificate: PresentedCertificate) => Promise<boolean>;
  /** `connect`. Throws NotFound, WrongState or Forbidden for an agent that is not wanted; any other error is tried again. */
  readonly connected: (
    peer: Peer,
    link: { version: string; address: string; serverId: string; serial: string; notAfter: number },
  ) => Promise<void>;
  /** `ready` */
  readonly ready: (peer: Peer) => Promise<void>;
  /** `lose` */
  readonly lost: (peer: Peer, reason: string) => Promise<void>;
  /** `disconnect` */
  readonly disconnected: (peer: Peer, reason: string) => Promise<void>;
  /** Agents whose record says Up or Connecting at this server; those that have not come back soon after its start are lost. */
  readonly believedConnected: (serverId: string) => Promise<readonly Peer[]>;
}

/** Asks of agents that are linked to another management server go through it. */
export interface Forward {
  readonly serverOf: (id: string) => Promise<string | null>;
  readonly ask: <A>(serverId: string, to: Peer, call: Call<A>, options: AskOptions) => Promise<A>;
}

export interface AskOptions {
  readonly requestId: string;
  readonly job?: string;
  readonly epoch?: number;
  /** How long to wait for the agent's link when there is none. */
  readonly linkGraceSeconds?: number;
  readonly signal?: AbortSignal;
}
export type Ask = <A>(call: Call<A>, options: AskOptions) => Promise<A>;

export interface AgentHubTiming {
  readonly linkGraceMs: number;
  readonly relinkGraceMs: number;
  readonly writeRetryMs: number;
  readonly prepareRetryMs: number;
  readonly startGraceMs: number;
  readonly refusalRepeatMs: number;
}

export interface AgentHubOptions {
  readonly serverId: string;
  readonly host?: string;
  readonly port: number;
  /** DNS names and addresses for the server's own certificate. */
  readonly names: readonly string[];
  readonly certificates: Certificates;
  readonly records: AgentRecords;
  /** Makes an agent that has just connected ready for work, with the given ask; it is Up when this has resolved. Tried again if it throws. */
  readonly prepare: (peer: Peer, ask: Ask, link: { readonly version: string; readonly address: string }) => Promise<void>;
  /** Path of a file that hosts may fetch at /files/<name>, or null. */
  readonly file: (name: string) => Promise<string | null>;
  /** Somebody was turned away: an alert for the operator. The same again within a minute is only counted. */
  readonly onRefused: (refusal: Refusal) => void;
  readonly onAskDone?: (ask: { name: string; kind: PeerKind; outcome: AskOutcome; seconds: number }) => void;
  readonly forward?: Forward;
  readonly beatMs?: number;
  readonly validitySeconds?: () => number;
  readonly timing?: Partial<AgentHubTiming>;
  readonly log: Log;
}

export interface ConnectedAgent {
  readonly peer: Peer;
  readonly state: 'Connecting' | 'Up';
  readonly version: string;
  readonly address: string;
  readonly silentMs: number;
  readonly asksInFlight: number;
}
export interface AgentHub {
  readonly port: number;
  /**
   * Asks until the message's own timeout. Unreachable when there is no link within the grace, or a broken one does not come back; what
   * the agent refused with otherwise.
   */
  ask<A>(to: Peer | string, call: Call<A>, options: AskOptions): Promise<A>;
  /** The least busy of those that are Up here; throws Unreachable when none is. */
  any(among: { kind: PeerKind; ids: readonly string[] }): Peer;
  isUp(id: string): boolean;
  connected(): ConnectedAgent[];
  /** Cuts the link and fails what was asked, for an agent that is removed, revoked or known to be gone. It is not reported as lost. */
  drop(id: string, reason: string): void;
  onBeat(listener: (peer: Peer, beat: Beat) => void): () => void;
  onBell(listener: (peer: Peer, subject: BellSubject) => void): () => void;
  onUp(listener: (peer: Peer) => void): () => void;
  onDown(listener: (peer: Peer, how: 'lost' | 'disconnected') => void): () => void;
  readonly counts: {
    readonly connected: number;
    readonly asksInFlight: number;
    readonly waiting: number;
    readonly refused: Readonly<Record<string, number>>;
  };
  close(): Promise<void>;
}

const usualTiming: AgentHubTiming = {
  linkGraceMs: 10_000,
  relinkGraceMs: 60_000,
  writeRetryMs: 1000,
  prepareRetryMs: 1000,
  startGraceMs: 15_000,
  refusalRepeatMs: 60_000,
};
const PREPARE_RETRY_MAX_MS = 30_000;
const CERTIFICATE_SECONDS = 365 * 86_400;
const OWN_CERTIFICATE_CHECK_MS = 3_600_000;

const isFinal = (error: unknown): boolean => error instanceof CloudError && ['NotFound', 'WrongState', 'Forbidden'].includes(error.code);

const listeners = <A extends readonly unknown[]>(log: Log) => {
  const all = new Set<(...args: A) => void>();
  return {
    add: (listener: (...args: A) => void) => {
      all.add(listener);
      return () => void all.delete(listener);
    },
    call: (...args: A) => {
      for (const listener of all) {
        try {
          listener(...args);
        } catch (error) {
          log.error({ err: error }, 'a listener of the agent hub failed');
        }
      }
    },
  };
};

export async function openAgentHub(options: AgentHubOptions): Promise<AgentHub> {
  const { serverId, certificates, records, log, forward, beatMs = 5000, validitySeconds = () => CERTIFICATE_SECONDS } = options;
  const timing = { ...usualTiming, ...options.timing };
  const stations = new Map<string, Station>();
  const onBeat = listeners<[Peer, Beat]>(log);
  const onBell = listeners<[Peer, BellSubject]>(log);
  const onUp = listeners<[Peer]>(log);
  const onDown = listeners<[Peer, 'lost' | 'disconnected']>(log);
  const closing = new AbortController();

  const stationOf = (peer: Peer): Station => {
    const known = stations.get(peer.id);
    if (known !== undefined) return known;
    const station = new Station(peer, timing);
    stations.set(peer.id, station);
    return station;
  };
  const forget = (station: Station): void => {
    if (station.isIdle && stations.get(station.peer.id) === station) stations.delete(station.peer.id);
  };
  const pause = (ms: number): Promise<unknown> => wait(ms, undefined, { signal: closing.signal }).catch(() => {});

  /** Writes in order, again and again while it still holds; the database may be away for a while. */
  const write = (station: Station, what: string, act: () => Promise<void>, holds: () => boolean): Promise<'done' | 'refused' | 'stale'> => {
    const attempts = async (): Promise<'done' | 'refused' | 'stale'> => {
      while (holds() && !closing.signal.aborted) {
        try {
          await act();
          return 'done';
        } catch (error) {
          log.warn({ err: error, ...station.peer }, `the agent's state was not written: ${what}`);
          if (isFinal(error)) return 'refused';
          await pause(timing.writeRetryMs);
        }
      }
      return 'stale';
    };
    station.writesWaiting += 1;
    const written = station.writing.then(attempts).finally(() => {
      station.writesWaiting -= 1;
      forget(station);
    });
    station.writing = written;
    return written;
  };

  const askStation = async <A>(station: Station, call: Call<A>, asked: AskOptions, whileConnecting: boolean): Promise<A> => {
    const { linkGraceSeconds, ...rest } = asked;
    const graceMs = linkGraceSeconds === undefined ? timing.linkGraceMs : linkGraceSeconds * 1000;
    try {
      await station.reachable(graceMs, whileConnecting, asked.signal);
      const since = performance.now();
      const done = (outcome: AskOutcome): void => {
        const seconds = (performance.now() - since) / 1000;
        options.onAskDone?.({ name: call.message.name, kind: station.peer.kind, outcome, seconds });
      };
      return await station.ask(call, { ...rest, whileConnecting }, done);
    } finally {
      forget(station);
    }
  };

  const bringUp = async (station: Station, link: ServerLink): Promise<void> => {
    const { peer } = station;
    const { version, address, serial, notAfter } = link;
    const holds = (): boolean => station.link === link;
    const written = await write(
      station,
      'connected',
      () => records.connected(peer, { version, address, serverId, serial, notAfter }),
      holds,
    );
    if (written === 'refused') {
      options.onRefused({ reason: 'removed', address, peer, words: 'the agent is not wanted any more' });
      link.end('closed', 'the agent is not wanted any more');
    }
    if (written !== 'done') return;
    for (let retryMs = timing.prepareRetryMs; holds() && !closing.signal.aborted; retryMs = Math.min(retryMs * 2, PREPARE_RETRY_MAX_MS)) {
      try {
        await options.prepare(peer, (call, asked) => askStation(station, call, asked, true), { version, address });
        break;
      } catch (error) {
        if (!holds()) return;
        log.warn({ err: error, ...peer }, 'the agent could not be made ready');
        await pause(retryMs);
      }
    }
    if ((await write(station, 'ready', () => records.ready(peer), holds)) !== 'done' || !holds()) return;
    station.up();
    log.info({ ...peer, version, address }, 'agent is up');
    onUp.call(peer);
  };

  const accept = (link: ServerLink): LinkEvents => {
    const { peer } = link;
    const station = stationOf(peer);
    station.attach(link);
    void bringUp(station, link).catch((error: unknown) => {
      log.error({ err: error, ...peer }, 'the agent could not be brought up');
      link.end('lost', 'the agent could not be brought up');
    });
    return {
      answer: (frame) => station.reply(frame),
      bell: (subject) => onBell.call(peer, subject),
      beat: (beat) => onBeat.call(peer, beat),
      ended(how, reason) {
        if (station.link !== link) return;
        station.detach();
        log.info({ ...peer, how, reason }, 'the link has ended');
        if (how === 'closed' || how === 'replaced') return forget(station);
        const holds = (): boolean => station.link === null;
        const state = how === 'bye' ? 'disconnected' : 'lost';
        void write(station, state, () => records[state](peer, reason), holds);
        onDown.call(peer, state);
      },
    };
  };

  const issue = async (peer: Peer, publicKey: KeyObject) => {
    const certificate = certificates.issue({ ...peer, publicKey, validitySeconds: validitySeconds() });
    await records.issued(peer, { serial: certificate.serial, notAfter: certificate.notAfter });
    return certificate;
  };
  const join = async ({ kind, id, token, publicKey, publicKeySha256, address }: JoinClaim) => {
    await records.useJoinToken({ kind, id, tokenSha256: sha256Hex(token), publicKeySha256, address });
    return await issue({ kind, id }, publicKey);
  };

  // The server's own key lives as long as the process; agents know it by the authority and the URI, not by the key.
  const ownCertificate = (): ManagementCertificate =>
    certificates.issueManagement({ id: serverId, names: options.names, validitySeconds: validitySeconds() });
  const identityOf = ({ keyPem, chainPem, caPem }: ManagementCertificate) => ({ id: serverId, keyPem, chainPem, caPem });
  let own = ownCertificate();
  const server: LinkServer = await openLinkServer({
    port: options.port,
    ...(options.host === undefined ? {} : { host: options.host }),
    identity: identityOf(own),
    beatMs,
    join,
    renew: issue,
    isRevoked: records.isRevoked,
    file: options.file,
    accept,
    onRefused: options.onRefused,
    refusalRepeatMs: timing.refusalRepeatMs,
    log,
  });
  const ownCheck = setInterval(() => {
    if (Date.now() < renewalTime(own.certificatePem)) return;
    own = ownCertificate();
    server.setIdentity(identityOf(own));
  }, OWN_CERTIFICATE_CHECK_MS);
  ownCheck.unref();

  const findMissing = async (): Promise<void> => {
    await pause(timing.startGraceMs + BEATS_MISSED_MAX * beatMs);
    while (!closing.signal.aborted) {
      try {
        for (const peer of await records.believedConnected(serverId)) {
          const station = stationOf(peer);
          if (station.link !== null) continue;
          await write(
            station,
            'lost',
            () => records.lost(peer, 'did not come back after the management server had started'),
            () => station.link === null,
          );
          onDown.call(peer, 'lost');
        }
        return;
      } catch (error) {
        log.warn({ err: error }, 'agents that did not come back could not be looked for');
        await pause(timing.writeRetryMs);
      }
    }
  };
  const missing = findMissing();

  return {
    port: server.port,
    async ask(to, call, asked) {
      const id = typeof to === 'string' ? to : to.id;
      const station = stations.get(id);
      const isHere = station !== undefined && station.link !== null;
      const peer = typeof to === 'string' ? station?.peer : to;
      if (!isHere && forward !== undefined && peer !== undefined) {
        const elsewhere = await forward.serverOf(id);
        if (elsewhere !== null && elsewhere !== serverId) return await forward.ask(elsewhere, peer, call, asked);
      }
      if (peer === undefined) throw new CloudError('Unreachable', 'the agent has no link to a management server', { id });
      if (station !== undefined && station.peer.kind !== peer.kind) {
        throw new CloudError('Internal', `the agent is a ${station.peer.kind}, not a ${peer.kind}`, { id });
      }
      return await askStation(stationOf(peer), call, asked, false);
    },
    any({ kind, ids }) {
      let best: Station | null = null;
      const first = Math.floor(Math.random() * ids.length);
      for (const id of [...ids.slice(first), ...ids.slice(0, first)]) {
        const station = stations.get(id);
        if (station?.isUp && station.peer.kind === kind && (best === null || station.asksInFlight < best.asksInFlight)) best = station;
      }
      if (best === null) throw new CloudError('Unreachable', `no ${kind} is up at the moment`);
      return best.peer;
    },
    isUp: (id) => stations.get(id)?.isUp === true,
    connected: () =>
      [...stations.values()].flatMap((station) => {
        const { link, peer, isUp } = station;
        if (link === null) return [];
        const { version, address, lastSeen } = link;
        const state = isUp ? ('Up' as const) : ('Connecting' as const);
        return [{ peer, state, version, address, silentMs: performance.now() - lastSeen, asksInFlight: station.asksInFlight }];
      }),
    drop(id, reason) {
      const station = stations.get(id);
      if (station === undefined) return;
      station.link?.end('closed', reason);
      station.failAll(new CloudError('Unreachable', `the ${station.peer.kind} was given up: ${reason}`, { ...station.peer }));
      forget(station);
    },
    onBeat: onBeat.add,
    onBell: onBell.add,
    onUp: onUp.add,
    onDown: onDown.add,
    get counts() {
      const { links, waiting, refused } = server.counts;
      let asksInFlight = 0;
      for (const station of stations.values()) asksInFlight += station.asksInFlight;
      return { connected: links, waiting, refused, asksInFlight };
    },
    async close() {
      closing.abort();
      clearInterval(ownCheck);
      await server.close();
      const error = new CloudError('Unavailable', 'the management server stops');
      for (const station of [...stations.values()]) station.failAll(error);
      await missing;
      await Promise.allSettled([...stations.values()].map((station) => station.writing));
    },
  };
}
