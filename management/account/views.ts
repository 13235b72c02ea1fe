import { In } from 'typeorm';
import { type AccountTypeName, accountTypes } from '../core/context.ts';
import type { Database } from '../core/db.ts';
import { type AccountRow, accounts, type DomainRow, domains, shownPath, type UserRow } from '../core/owners.ts';
import { f, view } from '../core/view.ts';
import type { Keys } from './accounts.ts';
import type { RoleRow } from './entities.ts';

export const roleTypeShown: Readonly<Record<AccountTypeName, string>> = { admin: 'Admin', domainAdmin: 'DomainAdmin', user: 'User' };

export interface UserShown extends Omit<UserRow, 'passwordHash' | 'secretKey' | 'apiKey' | 'removedAt'> {
  readonly accountName: string;
  readonly accountType: AccountTypeName;
  readonly domainId: string;
  readonly domainName: string;
  readonly roleId: string | null;
  readonly roleName: string;
}
const userFields = {
  id: f.string<UserShown>('the id of the user', (row) => row.id),
  username: f.string<UserShown>('the name that the user logs in with', (row) => row.name),
  firstname: f.string<UserShown>('the first name of the user', (row) => row.firstName),
  lastname: f.string<UserShown>('the last name of the user', (row) => row.lastName),
  email: f.string<UserShown>('the e-mail address of the user', (row) => row.email),
  timezone: f.string<UserShown>('the time zone of the user', (row) => row.timezone),
  state: f.string<UserShown>('enabled, disabled or locked', (row) => row.state),
  created: f.date<UserShown>('when the user was made', (row) => row.createdAt),
  account: f.string<UserShown>('the account of the user', (row) => row.accountName),
  accountid: f.string<UserShown>('the id of the account', (row) => row.accountId),
  accounttype: f.integer<UserShown>('type of the account: 0 user, 1 root admin, 2 domain admin', (row) => accountTypes[row.accountType]),
  roleid: f.string<UserShown>('the id of the role', (row) => row.roleId),
  rolename: f.string<UserShown>('the name of the role', (row) => row.roleName),
  roletype: f.string<UserShown>('the type of the role', (row) => roleTypeShown[row.accountType]),
  domainid: f.string<UserShown>('the id of the domain', (row) => row.domainId),
  domain: f.string<UserShown>('the name of the domain', (row) => row.domainName),
  usersource: f.string<UserShown>('where the user comes from', () => 'native'),
};
export const userView = view<UserShown>('UserResponse', 'user', userFields);
/** For whoever found the user by the key itself. */
export const userByKeyView = view<UserShown & { readonly apiKey: string }>('UserResponse', 'user', {
  ...userFields,
  apikey: f.string('the API key of the user', (row) => row.apiKey),
});

export const keysView = view<Keys>('RegisterResponse', 'userkeys', {
  apikey: f.string('the key that names the user in signed requests', (row) => row.apiKey),
  secretkey: f.string('the key that requests are signed with', (row) => row.secretKey),
});

const userSql = (condition: string) => `SELECT u.id, u.account_id AS accountId, u.name, u.first_name AS firstName, u.last_name AS lastName,
    u.email, u.timezone, u.state, u.created_at AS createdAt, a.name AS accountName, a.type AS accountType, a.domain_id AS domainId,
    d.name AS domainName, r.id AS roleId, a.role_name AS roleName
  FROM \`user\` u JOIN account a ON a.id = u.account_id JOIN domain d ON d.id = a.domain_id
    LEFT JOIN role r ON r.name = a.role_name AND r.removed_at IS NULL
  WHERE ${condition} ORDER BY u.id`;
export const loadUsers = ({ rows }: Pick<Database, 'rows'>, ids: readonly string[]): Promise<UserShown[]> =>
  ids.length === 0 ? Promise.resolve([]) : rows<UserShown>(userSql('u.id IN (?)'), [ids]);

/** What an account has, counted from the things themselves. */
interface Holdings {
  vmTotal: number;
  vmRunning: number;
  vmStopped: number;
  cpuTotal: number;
  memoryMibTotal: number;
  volumeTotal: number;
  volumeGibTotal: number;
  networkTotal: number;
  ipTotal: number;
  templateTotal: number;
}
const nothing: Holdings = {
  vmTotal: 0,
  vmRunning: 0,
  vmStopped: 0,
  cpuTotal: 0,
  memoryMibTotal: 0,
  volumeTotal: 0,
  volumeGibTotal: 0,
  networkTotal: 0,
  ipTotal: 0,
  templateTotal: 0,
};
export type AccountShown = AccountRow & { domainName: string; domainPath: string; roleId: string | null; users: UserShown[] } & Holdings;

export const accountView = view<AccountShown>('AccountResponse', 'account', {
  id: f.string('the id of the account', (row) => row.id),
  name: f.string('the name of the account', (row) => row.name),
  accounttype: f.integer('type of the account: 0 user, 1 root admin, 2 domain admin', (row) => accountTypes[row.type]),
  roleid: f.string('the id of the role', (row) => row.roleId),
  rolename: f.string('the name of the role', (row) => row.roleName),
  roletype: f.string('the type of the role', (row) => roleTypeShown[row.type]),
  domainid: f.string('the id of the domain', (row) => row.domainId),
  domain: f.string('the name of the domain', (row) => row.domainName),
  domainpath: f.string('the path of the domain', (row) => shownPath(row.domainPath)),
  networkdomain: f.string('the DNS domain of its networks', (row) => row.networkDomain),
  state: f.string('enabled, disabled or locked', (row) => row.state),
  created: f.date('when the account was made', (row) => row.createdAt),
  isdefault: f.boolean('true for the account that the cloud was made with', (row) => row.domainPath === '/' && row.name === 'admin'),
  vmtotal: f.long('virtual machines of the account', (row) => row.vmTotal),
  vmrunning: f.integer('virtual machines that run', (row) => row.vmRunning),
  vmstopped: f.integer('virtual machines that are stopped', (row) => row.vmStopped),
  cputotal: f.long('CPUs of its virtual machines', (row) => row.cpuTotal),
  memorytotal: f.long('memory of its virtual machines, in MiB', (row) => row.memoryMibTotal),
  volumetotal: f.long('volumes of the account', (row) => row.volumeTotal),
  primarystoragetotal: f.long('size of its volumes, in GiB', (row) => row.volumeGibTotal),
  networktotal: f.long('networks of the account', (row) => row.networkTotal),
  iptotal: f.long('public addresses of the account', (row) => row.ipTotal),
  templatetotal: f.long('templates and ISOs of the account', (row) => row.templateTotal),
  user: f.list('the users of the account', (row) => row.users, userFields),
});

/** Eight statements, however many accounts. */
export async function loadAccounts(db: Pick<Database, 'rows' | 'read'>, ids: readonly string[]): Promise<AccountShown[]> {
  if (ids.length === 0) return [];
  const found = await db.read.findBy(accounts, { id: In([...ids]) });
  const about = await db.rows<{ id: string; domainName: string; domainPath: string; roleId: string | null }>(
    `SELECT a.id, d.name AS domainName, d.path AS domainPath, r.id AS roleId FROM account a JOIN domain d ON d.id = a.domain_id
       LEFT JOIN role r ON r.name = a.role_name AND r.removed_at IS NULL WHERE a.id IN (?)`,
    [ids],
  );
  const aboutById = new Map(about.map((row) => [row.id, row]));
  const members = await db.rows<UserShown>(userSql('u.account_id IN (?) AND u.removed_at IS NULL'), [ids]);
  const held = await holdings(db, ids);
  return found.flatMap((row) => {
    const more = aboutById.get(row.id);
    return more
      ? [{ ...row, ...more, id: row.id, users: members.filter(({ accountId }) => accountId === row.id), ...nothing, ...held.get(row.id) }]
      : [];
  });
}

async function holdings({ rows }: Pick<Database, 'rows'>, ids: readonly string[]): Promise<Map<string, Partial<Holdings>>> {
  type Counted = { accountId: string } & Partial<Record<keyof Holdings, string | number>>;
  const counted = [
    ...(await rows<Counted>(
      `SELECT account_id AS accountId, COUNT(*) AS vmTotal, SUM(state = 'Running') AS vmRunning, SUM(state = 'Stopped') AS vmStopped,
          SUM(cpu_count) AS cpuTotal, SUM(memory_mib) AS memoryMibTotal
         FROM machine WHERE kind = 'guest' AND removed_at IS NULL AND state NOT IN ('Destroyed', 'Expunging', 'Error') AND account_id IN (?)
        GROUP BY account_id`,
      [ids],
    )),
    ...(await rows<Counted>(
      `SELECT account_id AS accountId, COUNT(*) AS volumeTotal, SUM(size_bytes) / 1073741824 AS volumeGibTotal FROM volume
        WHERE removed_at IS NULL AND state NOT IN ('Destroy', 'Expunging', 'Expunged') AND account_id IN (?) GROUP BY account_id`,
      [ids],
    )),
    ...(await rows<Counted>(
      "SELECT account_id AS accountId, COUNT(*) AS networkTotal FROM network WHERE removed_at IS NULL AND state <> 'Destroy' AND account_id IN (?) GROUP BY account_id",
      [ids],
    )),
    ...(await rows<Counted>(
      "SELECT account_id AS accountId, COUNT(*) AS ipTotal FROM public_ip WHERE state <> 'Free' AND account_id IN (?) GROUP BY account_id",
      [ids],
    )),
    ...(await rows<Counted>(
      'SELECT account_id AS accountId, COUNT(*) AS templateTotal FROM template WHERE removed_at IS NULL AND account_id IN (?) GROUP BY account_id',
      [ids],
    )),
  ];
  const byAccount = new Map<string, Partial<Holdings>>();
  for (const { accountId, ...counts } of counted) {
    const numbers = Object.fromEntries(Object.entries(counts).map(([name, value]) => [name, Math.ceil(Number(value))]));
    byAccount.set(accountId, { ...byAccount.get(accountId), ...numbers });
  }
  return byAccount;
}

export type DomainShown = DomainRow & { parentName: string | null; hasChild: boolean };
export const domainView = view<DomainShown>('DomainResponse', 'domain', {
  id: f.string('the id of the domain', (row) => row.id),
  name: f.string('the name of the domain', (row) => row.name),
  level: f.integer('depth below ROOT', (row) => row.level),
  parentdomainid: f.string('the id of the domain above', (row) => row.parentId),
  parentdomainname: f.string('the name of the domain above', (row) => row.parentName),
  haschild: f.boolean('true when there are domains below', (row) => row.hasChild),
  path: f.string('the path of the domain', (row) => shownPath(row.path)),
  networkdomain: f.string('the DNS domain of its networks', (row) => row.networkDomain),
  state: f.string('the state of the domain', () => 'Active'),
  created: f.date('when the domain was made', (row) => row.createdAt),
});
export async function loadDomains(db: Pick<Database, 'rows' | 'read'>, ids: readonly string[]): Promise<DomainShown[]> {
  if (ids.length === 0) return [];
  const found = await db.read.findBy(domains, { id: In([...ids]) });
  const about = await db.rows<{ id: string; parentName: string | null; hasChild: number }>(
    `SELECT d.id, p.name AS parentName, EXISTS (SELECT 1 FROM domain c WHERE c.parent_id = d.id AND c.removed_at IS NULL) AS hasChild
       FROM domain d LEFT JOIN domain p ON p.id = d.parent_id WHERE d.id IN (?)`,
    [ids],
  );
  const byId = new Map(about.map((row) => [row.id, row]));
  return found.map((row) => ({ ...row, parentName: byId.get(row.id)?.parentName ?? null, hasChild: byId.get(row.id)?.hasChild === 1 }));
}

export const roleView = view<RoleRow>('RoleResponse', 'role', {
  id: f.string('the id of the role', (row) => row.id),
  name: f.string('the name of the role', (row) => row.name),
  type: f.string('the type of the role', (row) => roleTypeShown[row.type]),
  description: f.string('what the role is for', (row) => row.description),
  isdefault: f.boolean('true for a role that the cloud was made with', (row) => row.builtIn),
  ispublic: f.boolean('true when all admins may see it', (row) => row.type !== 'admin'),
  state: f.string('the state of the role', () => 'enabled'),
});
