/** What the hub writes down, in the database: states of agents, join tokens, certificates. */
import { In } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import type { PeerKind } from '../../protocol/kinds.ts';
import { agentStates } from '../../protocol/states/host.ts';
import type { AgentRecords, Peer } from './agents.ts';
import { type Database, lock, move, type Tx } from './db.ts';
import { gathered } from './gather.ts';
import { newToken, sha256Hex } from './secrets.ts';
import { type AgentRow, agents, joinTokens, revokedCertificates } from './tables.ts';

const TOKEN_SECONDS = 600;
const REVOKED_RELOAD_MS = 5000;

/** A one-time token with which the holder becomes exactly this agent; good for ten minutes. The token itself is kept nowhere. */
export async function newJoinToken(tx: Tx, { kind, id }: Peer): Promise<string> {
  const token = newToken(32);
  await tx.insert(joinTokens, {
    sha256: sha256Hex(token),
    kind,
    agentId: id,
    expiresAt: new Date(Date.now() + TOKEN_SECONDS * 1000),
    usedAt: null,
  });
  return token;
}

/** The record of an agent that will connect. */
export async function newAgent(
  tx: Tx,
  { kind, id, zoneId, address }: { kind: PeerKind; id: string; zoneId: string | null; address: string | null },
): Promise<void> {
  await tx.insert(agents, {
    id,
    kind,
    zoneId: zoneId as never,
    state: 'Creating',
    generation: 0,
    version: null,
    serverId: null,
    certificateSerial: null,
    certificateExpiresAt: null,
    lastBeatAt: null,
    stateSince: new Date(),
    load: 0,
    address,
  });
}

/** The agent is not wanted any more: its certificate and tokens stop working. */
export async function removeAgent(tx: Tx, id: string): Promise<void> {
  const agent = await lock(tx, agents, { id });
  if (!agent) return;
  if (agent.certificateSerial) await tx.upsert(revokedCertificates, { serial: agent.certificateSerial, revokedAt: new Date() }, ['serial']);
  await tx.delete(joinTokens, { agentId: id });
  if (agent.state !== 'Removed') await move(tx, agents, agentStates, agent, 'remove', { stateSince: new Date(), serverId: null });
}

export interface Records extends AgentRecords {
  close: () => void;
}

export async function openAgentRecords(db: Database, onChange: (peer: Peer) => void): Promise<Records> {
  const revoked = new Set<string>();
  /** Agents that are removed: none of their certificates counts, those before a renewal neither. */
  let removed = new Set<string>();
  const reload = async () => {
    for (const { serial } of await db.read.find(revokedCertificates)) revoked.add(serial);
    removed = new Set((await db.read.find(agents, { where: { state: 'Removed' }, select: { id: true } })).map(({ id }) => id));
  };
  await reload();
  const timer = setInterval(() => void reload().catch(() => undefined), REVOKED_RELOAD_MS);
  timer.unref();

  type AgentEvent = 'connect' | 'ready' | 'lose' | 'disconnect';
  interface Change {
    readonly peer: Peer;
    readonly event: AgentEvent;
    readonly changes: (now: Date) => Partial<AgentRow>;
  }
  /** All that is written together is locked first, so it can be written whole. What is refused to one is not refused to the others. */
  const changeTogether = gathered<Change, CloudError | null>((wanted) =>
    db.transact(async (tx) => {
      const ids = [...new Set(wanted.map(({ peer }) => peer.id))].sort();
      const found = await tx.find(agents, { where: { id: In(ids) }, order: { id: 'ASC' }, lock: { mode: 'pessimistic_write' } });
      const rows = new Map(found.map((row) => [row.id, row]));
      const moved = new Set<string>();
      const now = new Date();
      const refusals = wanted.map(({ peer, event, changes }): CloudError | null => {
        const agent = rows.get(peer.id);
        if (!agent || agent.kind !== peer.kind) return new CloudError('NotFound', 'there is no such agent', { ...peer });
        if (agent.state === 'Removed') return new CloudError('Forbidden', 'the agent is not wanted any more', { ...peer });
        // A link that is lost twice, or lost after a graceful end, is no news.
        if (!agentStates.can(agent.state, event)) return null;
        const state = agentStates.next(agent.state, event);
        rows.set(peer.id, { ...agent, stateSince: now, ...changes(now), state, generation: agent.generation + 1 });
        moved.add(peer.id);
        return null;
      });
      const written = [...rows.values()].filter(({ id }) => moved.has(id));
      if (written.length > 0) await tx.upsert(agents, written, ['id']);
      return refusals;
    }),
  );
  const change = async (peer: Peer, event: AgentEvent, changes: Change['changes'] = () => ({})) => {
    const refusal = await changeTogether({ peer, event, changes });
    if (refusal) throw refusal;
    onChange(peer);
  };

  return {
    useJoinToken: async ({ kind, id, tokenSha256, publicKeySha256 }) => {
      await db.transact(async (tx) => {
        const row = await lock(tx, joinTokens, { sha256: tokenSha256 });
        const good =
          row &&
          row.kind === kind &&
          row.agentId === id &&
          row.expiresAt.getTime() > Date.now() &&
          (row.usedAt === null || row.publicKeySha256 === publicKeySha256);
        if (!good)
          throw new CloudError(
            'Unauthenticated',
            'the join token is not valid for this agent, has been used, or is older than ten minutes',
          );
        await tx.update(joinTokens, { sha256: tokenSha256 }, { usedAt: row.usedAt ?? new Date(), publicKeySha256 });
      });
    },
    issued: async ({ id }, { serial, notAfter }) => {
      await db.transact(async (tx) => {
        const agent = await lock(tx, agents, { id });
        if (!agent || agent.state === 'Removed') throw new CloudError('Forbidden', 'the agent is not wanted any more', { id });
        await tx.update(agents, { id }, { certificateSerial: serial, certificateExpiresAt: new Date(notAfter) });
      });
    },
    isRevoked: async ({ serial, id }) => revoked.has(serial) || removed.has(id),
    connected: (peer, { version, serverId, serial, notAfter }) =>
      change(peer, 'connect', (now) => ({
        version: version.slice(0, 80),
        serverId,
        certificateSerial: serial,
        certificateExpiresAt: new Date(notAfter),
        lastBeatAt: now,
      })),
    ready: (peer) => change(peer, 'ready'),
    lost: (peer) => change(peer, 'lose', () => ({ serverId: null })),
    disconnected: (peer) => change(peer, 'disconnect', () => ({ serverId: null })),
    believedConnected: async (serverId) =>
      (
        await db.read.find(agents, {
          where: [
            { serverId, state: 'Up' },
            { serverId, state: 'Connecting' },
          ],
        })
      ).map(({ id, kind }) => ({ id, kind })),
    close: () => clearInterval(timer),
  };
}
