import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { type AccountTypeName, accountTypes } from '../../core/context.ts';
import { domainKind } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { hashPassword } from '../../core/secrets.ts';
import { checkTimezone, insertAccount, insertUser } from '../accounts.ts';
import { type RoleRow, roles } from '../entities.ts';
import { mayGrant, roleKind } from '../principals.ts';
import { accountView, loadAccounts } from '../views.ts';

export const typeByNumber = (number: number): AccountTypeName => {
  const found = (['user', 'admin', 'domainAdmin'] as const).find((type) => accountTypes[type] === number);
  if (!found) throw new CloudError('InvalidParameter', 'accounttype must be 0 for a user, 1 for a root admin or 2 for a domain admin');
  return found;
};

export const createAccount = command({
  name: 'createAccount',
  about: 'Creates an account with its first user.',
  access: 'domainAdmin',
  event: { type: 'ACCOUNT.CREATE', text: 'creating account', resource: 'Account' },
  params: {
    username: required(p.string('the name that the user logs in with')),
    password: required(p.string('the password of the user')),
    email: required(p.string('the e-mail address of the user')),
    firstname: required(p.string('the first name of the user')),
    lastname: required(p.string('the last name of the user')),
    account: p.string('the name of the account; that of the user unless given'),
    accounttype: p.integer('type of the account: 0 user, 1 root admin, 2 domain admin; unless roleid is given'),
    roleid: p.entity('the role of the account', roleKind, 'use'),
    domainid: p.entity('the domain of the account; that of the caller unless given', domainKind, 'use'),
    networkdomain: p.string("DNS domain of the account's networks"),
    timezone: p.string('the time zone of the user, such as Europe/Berlin'),
  },
  reply: reply.one(accountView),
  run: async (context, params) => {
    const { db, caller } = context;
    checkTimezone(params.timezone);
    const role = await roleFor(params);
    if (!mayGrant(caller, role.type)) throw new CloudError('Forbidden', 'you may not make an account that may do more than your own');
    const passwordHash = await hashPassword(params.password);
    const id = await db.transact(async (tx) => {
      const account = await insertAccount(tx, {
        name: params.account ?? params.username,
        type: role.type,
        roleName: role.name,
        domainId: params.domainid?.id ?? caller.domainId,
        networkDomain: params.networkdomain ?? null,
      });
      await insertUser(tx, {
        account,
        name: params.username,
        passwordHash,
        firstName: params.firstname,
        lastName: params.lastname,
        email: params.email,
        timezone: params.timezone ?? null,
      });
      return account.id;
    });
    const [shown] = await loadAccounts(db, [id]);
    if (!shown) throw new CloudError('Internal', 'the account was not written', { id });
    return shown;

    async function roleFor({ roleid, accounttype }: typeof params): Promise<Pick<RoleRow, 'name' | 'type'>> {
      const type = accounttype === undefined ? undefined : typeByNumber(accounttype);
      if (roleid) {
        if (type !== undefined && type !== roleid.type)
          throw new CloudError(
            'InvalidParameter',
            `the role ${roleid.name} is not one for accounts of this accounttype; give only one of them`,
          );
        return roleid;
      }
      if (type === undefined) throw new CloudError('InvalidParameter', 'give the accounttype or the roleid of the account');
      const builtIn = await db.read.findOneBy(roles, { type, builtIn: true, removedAt: IsNull() });
      if (!builtIn) throw new CloudError('Internal', 'there is no role for this type of account', { type });
      return builtIn;
    }
  },
});
