import { CloudError } from '../../../protocol/errors.ts';
import { UUID_PATTERN } from '../../../protocol/schema.ts';
import { sessionTimeoutMinutes } from '../../core/auth/session.ts';
import { command, reply } from '../../core/command.ts';
import { users } from '../../core/owners.ts';
import { type Param, p, required } from '../../core/params.ts';
import { callerByLogin, fullPath } from '../callers.ts';
import { loginAttemptsAllowed, openLoginAttempts } from '../login-attempts.ts';
import { loginView } from '../login-reply.ts';

/** Clients know it as a number; ours are UUIDs, and a number finds nobody. */
const domainId: Param<string, false> = { ...p.string('the id of the domain; wins over its path'), type: 'long' };

const attempts = openLoginAttempts();

export const login = command({
  name: 'login',
  about: 'Opens a session for a user with a password. Only by POST.',
  access: 'public',
  params: {
    username: required(p.string('the name of the user')),
    password: required(p.string('the password of the user')),
    domain: p.string('the path of the domain, such as /a/b; ROOT unless given'),
    domainId,
  },
  reply: reply.flat(loginView),
  run: async ({ db, settings, session, serverId }, { username, password, domain, domainId: byId }) => {
    if (!session) throw new CloudError('BadRequest', 'a login is possible only over HTTP');
    const id = byId?.trim().toLowerCase();
    const attempt = { user: `${id || fullPath(domain ?? '')} ${username}`, address: session.clientAddress };
    attempts.begin(attempt, settings.get(loginAttemptsAllowed));
    const caller =
      id && !UUID_PATTERN.test(id)
        ? null
        : await callerByLogin(db, { username, password, domainPath: domain, domainId: id || undefined }).catch((error: unknown) => {
            attempts.withdrawn(attempt);
            throw error;
          });
    if (!caller) {
      await session.close();
      throw new CloudError('LoginFailed', `Failed to authenticate user ${username}; please provide valid credentials`);
    }
    attempts.succeeded(attempt);
    const user = await db.read.findOneByOrFail(users, { id: caller.userId });
    return { caller, user, serverId, sessionKey: await session.open(caller.userId), timeoutMinutes: settings.get(sessionTimeoutMinutes) };
  },
});
