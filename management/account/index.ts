import { type Area, asTables } from '../core/area.ts';
import { asCommands } from '../core/command.ts';
import { createAccount } from './commands/create-account.ts';
import { createDomain } from './commands/create-domain.ts';
import { createUser } from './commands/create-user.ts';
import { getUser } from './commands/get-user.ts';
import { getUserKeys } from './commands/get-user-keys.ts';
import { listAccounts } from './commands/list-accounts.ts';
import { listDomains } from './commands/list-domains.ts';
import { listRoles } from './commands/list-roles.ts';
import { listUsers } from './commands/list-users.ts';
import { login } from './commands/login.ts';
import { logout } from './commands/logout.ts';
import { registerUserKeys } from './commands/register-user-keys.ts';
import { updateUser } from './commands/update-user.ts';
import { accountTables } from './entities.ts';
import { loginAttemptsAllowed } from './login-attempts.ts';
import { seedAccounts } from './seed.ts';

export { registerKeys, systemAccount } from './accounts.ts';
export { callerByApiKey, callerByLogin, callerByUserId, callers } from './callers.ts';
export { accountKind, findAccount, type Owner, ownerOf, userKind } from './principals.ts';

export const accountArea: Area = {
  name: 'account',
  tables: asTables(...accountTables),
  commands: asCommands(
    login,
    logout,
    createAccount,
    listAccounts,
    createUser,
    updateUser,
    listUsers,
    getUser,
    registerUserKeys,
    getUserKeys,
    createDomain,
    listDomains,
    listRoles,
  ),
  sagas: [],
  reconcilers: [],
  settings: [loginAttemptsAllowed],
  seed: seedAccounts,
};
