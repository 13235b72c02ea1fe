/** The console sessions a proxy was told of, and what became of them. Takes the time as a value and touches nothing else. */
import { createHash } from 'node:crypto';
import { CloudError } from '../protocol/errors.ts';
import type { ConsoleTarget, consoleSessionStates } from '../protocol/messages/console.ts';
import type { Id, Infer } from '../protocol/schema.ts';

export type SessionState = (typeof consoleSessionStates)[number];

export interface ToldSession {
  readonly sessionId: Id<'consoleSession'>;
  readonly tokenSha256: string;
  readonly machineId: Id<'machine'>;
  readonly title: string;
  readonly target: Infer<typeof ConsoleTarget>;
  readonly expiresAt: number;
  readonly clientAddress: string | null;
}
export interface Session {
  readonly told: ToldSession;
  readonly state: SessionState;
  /** Who connected; null until then. */
  readonly clientAddress: string | null;
  readonly acquiredAt: number | null;
  readonly endedAt: number | null;
  /** Why it ended, as a sentence for the user. */
  readonly reason: string | null;
}

export type Refusal = 'unknown' | 'used' | 'expired' | 'closed' | 'wrong client' | 'full';
export const refusalSentences: Record<Refusal, string> = {
  unknown: 'This console link is not valid.',
  used: 'This console link has been used. Each link opens the console once; ask for a new one.',
  expired: 'This console link has expired. Ask for a new one.',
  closed: 'This console was closed before it was opened.',
  'wrong client': 'This console link was made for another network address.',
  full: 'All console sessions of this proxy are in use. Try again in a moment.',
};

export interface SessionLimits {
  readonly sessionsMax: number;
  readonly idleTimeoutSeconds: number;
}

/** How long it is remembered that a link was used, expired or closed. */
const REMEMBER_MS = 3600_000;
const REMEMBERED_MAX = 5000;
const WAITING_MAX = 10_000;

export interface SessionTable {
  /** Repeatable; a session that was used already stays as it is. */
  open(told: ToldSession, now: number): void;
  /** What a token would get, without using it. */
  look(token: string, clientAddress: string): { readonly session: Session; readonly refusal: Refusal | null } | null;
  /** Uses a token up, or says why not. A proxy that is full does not use it up. */
  acquire(token: string, clientAddress: string, now: number): { readonly session: Session } | { readonly refusal: Refusal };
  /** The user did something. */
  touch(sessionId: Id<'consoleSession'>, now: number): void;
  /** True when there was something to end. */
  end(sessionId: Id<'consoleSession'>, reason: string, now: number): boolean;
  /** Marks what has expired, forgets what is old. `idle` are the connected ones whose user did nothing for too long. */
  sweep(now: number): { readonly changed: boolean; readonly idle: readonly Id<'consoleSession'>[] };
  list(): readonly Session[];
  readonly connected: number;
}

interface Row extends Session {
  state: SessionState;
  clientAddress: string | null;
  acquiredAt: number | null;
  endedAt: number | null;
  reason: string | null;
  told: ToldSession;
  lastInputAt: number;
}

export const tokenSha256 = (token: string): string => createHash('sha256').update(token).digest('hex');

export function sessionTable(limits: () => SessionLimits): SessionTable {
  const rows = new Map<Id<'consoleSession'>, Row>();
  const byToken = new Map<string, Row>();
  let connected = 0;
  let waiting = 0;

  const count = (state: SessionState, difference: 1 | -1): void => {
    if (state === 'Connected') connected += difference;
    if (state === 'Waiting') waiting += difference;
  };
  const move = (row: Row, state: SessionState): void => {
    count(row.state, -1);
    row.state = state;
    count(state, 1);
  };
  const forget = (row: Row): void => {
    count(row.state, -1);
    rows.delete(row.told.sessionId);
    byToken.delete(row.told.tokenSha256);
  };
  const expire = (row: Row, now: number): boolean => {
    if (row.state !== 'Waiting' || now < row.told.expiresAt) return false;
    move(row, 'Expired');
    row.endedAt = row.told.expiresAt;
    return true;
  };
  const refusalOf = (row: Row, clientAddress: string): Refusal | null => {
    // Before all else: what became of a link is nobody's business but that of whom it was made for.
    if (row.told.clientAddress !== null && row.told.clientAddress !== clientAddress) return 'wrong client';
    if (row.state === 'Expired') return 'expired';
    if (row.state === 'Ended' && row.acquiredAt === null) return 'closed';
    return row.state === 'Waiting' ? null : 'used';
  };
  const rowOf = (token: string): Row | undefined => byToken.get(tokenSha256(token));

  return {
    open(told, now) {
      const known = rows.get(told.sessionId);
      if (known !== undefined) {
        if (known.state !== 'Waiting') return;
        byToken.delete(known.told.tokenSha256);
        known.told = told;
        byToken.set(told.tokenSha256, known);
        expire(known, now);
        return;
      }
      if (byToken.has(told.tokenSha256)) throw new CloudError('Conflict', 'another console session has this token');
      if (waiting >= WAITING_MAX) throw new CloudError('LimitExceeded', 'too many consoles wait to be opened on this proxy');
      const row: Row = {
        told,
        state: 'Waiting',
        clientAddress: null,
        acquiredAt: null,
        endedAt: null,
        reason: null,
        lastInputAt: now,
      };
      rows.set(told.sessionId, row);
      byToken.set(told.tokenSha256, row);
      count('Waiting', 1);
      expire(row, now);
    },
    look(token, clientAddress) {
      const row = rowOf(token);
      return row === undefined ? null : { session: row, refusal: refusalOf(row, clientAddress) };
    },
    acquire(token, clientAddress, now) {
      const row = rowOf(token);
      if (row === undefined) return { refusal: 'unknown' };
      expire(row, now);
      const refusal = refusalOf(row, clientAddress);
      if (refusal !== null) return { refusal };
      if (connected >= limits().sessionsMax) return { refusal: 'full' };
      move(row, 'Connected');
      row.clientAddress = clientAddress;
      row.acquiredAt = now;
      row.lastInputAt = now;
      return { session: row };
    },
    touch(sessionId, now) {
      const row = rows.get(sessionId);
      if (row !== undefined) row.lastInputAt = now;
    },
    end(sessionId, reason, now) {
      const row = rows.get(sessionId);
      if (row === undefined || row.state === 'Ended' || row.state === 'Expired') return false;
      move(row, 'Ended');
      row.endedAt = now;
      row.reason = reason;
      return true;
    },
    sweep(now) {
      let changed = false;
      const idle: Id<'consoleSession'>[] = [];
      let surplus = rows.size - connected - waiting - REMEMBERED_MAX;
      for (const row of rows.values()) {
        if (expire(row, now)) changed = true;
        if (row.state === 'Connected' && now - row.lastInputAt >= limits().idleTimeoutSeconds * 1000) idle.push(row.told.sessionId);
        if (row.endedAt !== null && (surplus > 0 || now - row.endedAt >= REMEMBER_MS)) {
          forget(row);
          surplus -= 1;
          changed = true;
        }
      }
      return { changed, idle };
    },
    list: () => [...rows.values()],
    get connected() {
      return connected;
    },
  };
}
