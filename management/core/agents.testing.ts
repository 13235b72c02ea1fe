/** A hub with its records in memory, on a loopback port, for tests and benchmarks. */
import { randomBytes, randomUUID } from 'node:crypto';
import { CloudError } from '../../protocol/errors.ts';
import type { PeerKind } from '../../protocol/kinds.ts';
import { createLog } from '../../protocol/log.ts';
import { type AgentState, agentStates } from '../../protocol/states/host.ts';
import { type AgentHub, type AgentHubOptions, type AgentRecords, openAgentHub, type Peer, type Refusal } from './agents.ts';
import { type AuthorityStore, type Certificates, openCertificates, type StoredAuthority } from './certificates.ts';
import { newToken, secretsWith, sha256Hex } from './secrets.ts';

export const silentLog = createLog('test', { level: process.env['NEPHOS_TEST_LOG'] ?? 'silent' });

export const memoryAuthority = async (): Promise<Certificates> => {
  let kept: StoredAuthority | null = null;
  const store: AuthorityStore = { read: async () => kept, writeOnce: async (authority) => (kept ??= authority) };
  return await openCertificates({ store, secrets: secretsWith(randomBytes(32)) });
};

interface Token extends Peer {
  expiresAt: number;
  publicKeySha256: string | null;
}
export interface MemoryRecords extends AgentRecords {
  readonly states: Map<string, AgentState>;
  /** Every move, as `event>state`. */
  readonly moves: string[];
  readonly serials: Map<string, string[]>;
  readonly revoked: Set<string>;
  /** While set, every write fails with it. */
  failure: Error | null;
  newToken(peer: Peer, expiresAt?: number): string;
}

export function memoryRecords(): MemoryRecords {
  const tokens = new Map<string, Token>();
  const move = async (peer: Peer, event: string): Promise<void> => {
    if (records.failure !== null) throw records.failure;
    const from = records.states.get(peer.id);
    if (from === undefined) throw new CloudError('NotFound', 'there is no such agent');
    const to = agentStates.next(from, event);
    records.states.set(peer.id, to);
    records.moves.push(`${event}>${to}`);
  };
  const records: MemoryRecords = {
    states: new Map(),
    moves: [],
    serials: new Map(),
    revoked: new Set(),
    failure: null,
    newToken(peer, expiresAt = Date.now() + 600_000) {
      const token = newToken();
      tokens.set(sha256Hex(token), { ...peer, expiresAt, publicKeySha256: null });
      if (!records.states.has(peer.id)) records.states.set(peer.id, 'Creating');
      return token;
    },
    async useJoinToken({ kind, id, tokenSha256, publicKeySha256 }) {
      const token = tokens.get(tokenSha256);
      const isGood = token !== undefined && token.kind === kind && token.id === id && token.expiresAt > Date.now();
      if (!isGood || (token.publicKeySha256 ?? publicKeySha256) !== publicKeySha256) {
        throw new CloudError('Unauthenticated', 'the join token is not valid');
      }
      token.publicKeySha256 = publicKeySha256;
    },
    async issued(peer, { serial }) {
      records.serials.set(peer.id, [...(records.serials.get(peer.id) ?? []), serial]);
    },
    isRevoked: async ({ serial }) => records.revoked.has(serial),
    connected: (peer) => move(peer, 'connect'),
    ready: (peer) => move(peer, 'ready'),
    lost: (peer) => move(peer, 'lose'),
    disconnected: (peer) => move(peer, 'disconnect'),
    believedConnected: async () =>
      [...records.states].filter(([, state]) => state === 'Up' || state === 'Connecting').map(([id]) => ({ kind: 'host' as const, id })),
  };
  return records;
}

export const newPeer = (kind: PeerKind = 'host'): Peer => ({ kind, id: randomUUID() });

export interface Cloud {
  readonly hub: AgentHub;
  readonly server: string;
  readonly records: MemoryRecords;
  readonly certificates: Certificates;
  readonly refusals: Refusal[];
}
/** Heartbeats are as rare as in earnest, so that a busy machine ends no link; tests of dead links ask for more of them. */
export async function openCloud(options: Partial<AgentHubOptions> & { records?: MemoryRecords } = {}): Promise<Cloud> {
  const records = options.records ?? memoryRecords();
  const certificates = options.certificates ?? (await memoryAuthority());
  const refusals: Refusal[] = [];
  const hub = await openAgentHub({
    serverId: randomUUID(),
    host: '127.0.0.1',
    port: 0,
    names: ['127.0.0.1'],
    certificates,
    prepare: async () => {},
    file: async () => null,
    onRefused: (refusal) => void refusals.push(refusal),
    log: silentLog,
    ...options,
    records,
    timing: {
      linkGraceMs: 300,
      writeRetryMs: 30,
      prepareRetryMs: 30,
      startGraceMs: 100,
      relinkGraceMs: 5000,
      refusalRepeatMs: 0,
      ...options.timing,
    },
  });
  return { hub, server: `127.0.0.1:${hub.port}`, records, certificates, refusals };
}
