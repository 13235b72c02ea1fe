import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { type UserRow, users } from '../../core/owners.ts';
import { p, required } from '../../core/params.ts';
import { hashPassword, verifyPassword } from '../../core/secrets.ts';
import { sessions } from '../../core/tables.ts';
import { checkTimezone, mustBeFreeUserName } from '../accounts.ts';
import { loginAttemptsAllowed, openLoginAttempts } from '../login-attempts.ts';
import { userKind } from '../principals.ts';
import { loadUsers, userView } from '../views.ts';

const attempts = openLoginAttempts();

export const updateUser = command({
  name: 'updateUser',
  about: 'Changes the name, the password or what else is known of a user.',
  access: 'user',
  event: { type: 'USER.UPDATE', text: 'updating user', resource: 'User' },
  params: {
    id: required(p.entity('the user', userKind, 'operate')),
    username: p.string('another name to log in with'),
    password: p.string('another password'),
    currentpassword: p.string('the password until now; who is no administrator must give it for another one'),
    email: p.string('the e-mail address'),
    firstname: p.string('the first name'),
    lastname: p.string('the last name'),
    timezone: p.string('the time zone, such as Europe/Berlin'),
  },
  reply: reply.one(userView),
  run: async (context, { id: user, username, password, currentpassword, email, firstname, lastname, timezone }) => {
    const { caller, db } = context;
    checkTimezone(timezone);
    if (password !== undefined) {
      if (currentpassword === undefined && caller.accountType === 'user')
        throw new CloudError('InvalidParameter', 'To set a new password the current password must be provided');
      if (currentpassword !== undefined) {
        // Whoever has only the keys of a user must not find out the password by trying.
        const attempt = { user: user.id, address: context.session?.clientAddress ?? '' };
        attempts.begin(attempt, context.settings.get(loginAttemptsAllowed));
        if (!(await verifyPassword(currentpassword, user.passwordHash)))
          throw new CloudError('InvalidParameter', 'Current password is incorrect');
        attempts.succeeded(attempt);
      }
    }
    const changes: Partial<UserRow> = {
      ...(username === undefined ? {} : { name: username }),
      ...(password === undefined ? {} : { passwordHash: await hashPassword(password) }),
      ...(email === undefined ? {} : { email }),
      ...(firstname === undefined ? {} : { firstName: firstname }),
      ...(lastname === undefined ? {} : { lastName: lastname }),
      ...(timezone === undefined ? {} : { timezone }),
    };
    await db.transact(async (tx) => {
      if (username !== undefined && username !== user.name) await mustBeFreeUserName(tx, user.accountId, username);
      if (Object.keys(changes).length > 0) await tx.update(users, { id: user.id }, changes);
      // Whoever is in with the old password is out when somebody else has changed it.
      if (password !== undefined && caller.userId !== user.id) await tx.delete(sessions, { userId: user.id });
    });
    const [shown] = await loadUsers(db, [user.id]);
    if (!shown) throw new CloudError('NotFound', 'the user does not exist any more', { id: user.id });
    return shown;
  },
});
