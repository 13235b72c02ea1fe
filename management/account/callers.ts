/** Finding out who calls: by API key, by login, by the user of a session. Whoever is disabled, locked or removed is nobody. */
import { CloudError } from '../../protocol/errors.ts';
import type { Id, Secret } from '../../protocol/schema.ts';
import type { AccountTypeName, Caller } from '../core/context.ts';
import type { Database } from '../core/db.ts';
import type { Callers } from '../core/http.ts';
import { hashPassword, newToken, verifyPassword } from '../core/secrets.ts';
import type { Services } from '../core/services.ts';

interface Found {
  userId: Id<'user'>;
  userName: string;
  accountId: Id<'account'>;
  accountName: string;
  accountType: AccountTypeName;
  domainId: Id<'domain'>;
  domainPath: string;
  roleName: string;
  passwordHash: string;
  secretKey: string | null;
}
const FIND = `SELECT u.id AS userId, u.name AS userName, a.id AS accountId, a.name AS accountName, a.type AS accountType, d.id AS domainId,
    d.path AS domainPath, a.role_name AS roleName, u.password_hash AS passwordHash, u.secret_key AS secretKey
  FROM \`user\` u JOIN account a ON a.id = u.account_id JOIN domain d ON d.id = a.domain_id
  WHERE u.removed_at IS NULL AND a.removed_at IS NULL AND d.removed_at IS NULL AND u.state = 'enabled' AND a.state = 'enabled'`;

const callerOf = ({ passwordHash: _hash, secretKey: _key, ...caller }: Found): Caller => caller;

export async function callerByApiKey(
  { db, secrets }: Pick<Services, 'db' | 'secrets'>,
  apiKey: string,
): Promise<{ caller: Caller; secretKey: Secret } | null> {
  // The database refuses to compare a key with letters that no key can have.
  const [found] = await db.rows<Found>(`${FIND} AND u.api_key = CONVERT(? USING ascii)`, [apiKey]);
  return found?.secretKey ? { caller: callerOf(found), secretKey: secrets.open(found.secretKey) } : null;
}

export async function callerByUserId({ rows }: Pick<Database, 'rows'>, id: Id<'user'>): Promise<Caller | null> {
  const [found] = await rows<Found>(`${FIND} AND u.id = ?`, [id]);
  return found ? callerOf(found) : null;
}

export interface Login {
  readonly username: string;
  readonly password: string;
  /** With or without a slash at its ends; nothing is ROOT. */
  readonly domainPath?: string | undefined;
  /** Wins over the path. */
  readonly domainId?: string | undefined;
}

/** Takes as long for a user who does not exist as for a wrong password. */
export async function callerByLogin({ rows }: Pick<Database, 'rows'>, login: Login): Promise<Caller | null> {
  return hashing(async () => {
    const [found] = await rows<Found>(`${FIND} AND u.name = ? AND ${login.domainId === undefined ? 'd.path = ?' : 'd.id = ?'}`, [
      login.username,
      login.domainId ?? fullPath(login.domainPath ?? ''),
    ]);
    const matches = await verifyPassword(login.password, found?.passwordHash ?? (await nobodysHash()));
    return found && matches ? callerOf(found) : null;
  });
}

export const fullPath = (path: string): string => {
  const names = path.split('/').filter((name) => name !== '');
  return names.length === 0 ? '/' : `/${names.join('/')}/`;
};

let nobodys: Promise<string> | null = null;
/** A hash that no password fits, made once. */
export function nobodysHash(): Promise<string> {
  nobodys ??= hashPassword(newToken());
  return nobodys;
}

const RUNNING_MAX = 2;
const WAITING_MAX = 50;
let running = 0;
const waiting: (() => void)[] = [];
/**
 * Hashing a password costs tens of megabytes and a thread for a while, and everybody on the network may ask for it: few at a time, and a
 * bounded queue.
 */
async function hashing<T>(work: () => Promise<T>): Promise<T> {
  if (running >= RUNNING_MAX) {
    if (waiting.length >= WAITING_MAX) throw new CloudError('TooManyRequests', 'too many logins at the same time; please try again');
    await new Promise<void>((resolve) => waiting.push(resolve));
  } else running += 1;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running -= 1;
  }
}

export const callers = (services: Pick<Services, 'db' | 'secrets'>): Callers => ({
  byApiKey: (apiKey) => callerByApiKey(services, apiKey),
  byUserId: (userId) => callerByUserId(services.db, userId),
});
