import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { domainKind } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { hashPassword } from '../../core/secrets.ts';
import { checkTimezone, insertUser, SYSTEM_ACCOUNT } from '../accounts.ts';
import { findAccount } from '../principals.ts';
import { loadUsers, userView } from '../views.ts';

export const createUser = command({
  name: 'createUser',
  about: 'Creates a further user of an account.',
  access: 'domainAdmin',
  event: { type: 'USER.CREATE', text: 'creating user', resource: 'User' },
  params: {
    account: required(p.string('the account of the user')),
    domainid: p.entity('the domain of the account; that of the caller unless given', domainKind, 'use'),
    username: required(p.string('the name that the user logs in with')),
    password: required(p.string('the password of the user')),
    email: required(p.string('the e-mail address of the user')),
    firstname: required(p.string('the first name of the user')),
    lastname: required(p.string('the last name of the user')),
    timezone: p.string('the time zone of the user, such as Europe/Berlin'),
  },
  reply: reply.one(userView),
  run: async (context, params) => {
    checkTimezone(params.timezone);
    const account = await findAccount(context, params.account, params.domainid, 'operate');
    if (account.name === SYSTEM_ACCOUNT && account.type === 'admin')
      throw new CloudError('Forbidden', 'the system account has no users: it belongs to the cloud itself');
    const passwordHash = await hashPassword(params.password);
    const { id } = await context.db.transact((tx) =>
      insertUser(tx, {
        account,
        name: params.username,
        passwordHash,
        firstName: params.firstname,
        lastName: params.lastname,
        email: params.email,
        timezone: params.timezone ?? null,
      }),
    );
    const [shown] = await loadUsers(context.db, [id]);
    if (!shown) throw new CloudError('Internal', 'the user was not written', { id });
    return shown;
  },
});
