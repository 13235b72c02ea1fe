/** Login sessions: a row per session; the cookies hold what only the browser knows, the row only hashes. */
import type { Id } from '../../../protocol/schema.ts';
import type { Database } from '../db.ts';
import { equalSecrets, newToken, sha256Hex } from '../secrets.ts';
import { setting } from '../settings.ts';
import { sessions } from '../tables.ts';

export const sessionTimeoutMinutes = setting.integer('session.timeout', 30, {
  min: 1,
  max: 10_080,
  about: 'Minutes without a request after which a login ends.',
});
/** A session row is touched at most this often, so that a busy page does not write with every request. */
const TOUCH_MS = 15_000;

/** Clients that log in before every command leave many behind; those that were used last stay. */
const SESSIONS_PER_USER_MAX = 100;

export interface OpenedSession {
  /** For the JSESSIONID cookie. */
  readonly id: string;
  readonly sessionKey: string;
}

export async function openSession(db: Database, userId: Id<'user'>): Promise<OpenedSession> {
  const id = newToken(24);
  const sessionKey = newToken(20);
  const now = new Date();
  await db.transact(async (tx) => {
    const [row] = await tx.query('SELECT COUNT(*) AS n FROM session WHERE user_id = ?', [userId]);
    const over = Number(row.n) + 1 - SESSIONS_PER_USER_MAX;
    if (over > 0) await tx.query('DELETE FROM session WHERE user_id = ? ORDER BY last_seen_at LIMIT ?', [userId, over]);
    await tx.insert(sessions, { id: sha256Hex(id), userId, sessionKeySha256: sha256Hex(sessionKey), createdAt: now, lastSeenAt: now });
  });
  return { id, sessionKey };
}

export interface FoundSession {
  readonly userId: Id<'user'>;
  readonly keyMatches: (sessionKey: string) => boolean;
}

/** The live session of this cookie, or null. */
export async function findSession(db: Database, id: string, timeoutMinutes: number): Promise<FoundSession | null> {
  const row = await db.read.findOneBy(sessions, { id: sha256Hex(id) });
  if (!row) return null;
  const now = Date.now();
  if (now - row.lastSeenAt.getTime() > timeoutMinutes * 60_000) {
    await closeSession(db, id);
    return null;
  }
  if (now - row.lastSeenAt.getTime() > TOUCH_MS) await db.read.update(sessions, { id: row.id }, { lastSeenAt: new Date(now) });
  return { userId: row.userId, keyMatches: (sessionKey) => equalSecrets(sha256Hex(sessionKey), row.sessionKeySha256) };
}

export async function closeSession(db: Database, id: string): Promise<void> {
  await db.transact((tx) => tx.delete(sessions, { id: sha256Hex(id) }));
}
export async function closeSessionsOf(db: Database, userId: Id<'user'>): Promise<void> {
  await db.transact((tx) => tx.delete(sessions, { userId }));
}
