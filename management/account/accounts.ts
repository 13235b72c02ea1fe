/** Making domains, accounts and users: the rules on their names, in the transaction that writes them. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import type { Id } from '../../protocol/schema.ts';
import type { AccountTypeName } from '../core/context.ts';
import { nextNumber } from '../core/counters.ts';
import { lock, type Tx } from '../core/db.ts';
import { type AccountRow, accounts, type DomainRow, domains, type UserRow, users } from '../core/owners.ts';
import { newToken } from '../core/secrets.ts';
import type { Services } from '../core/services.ts';

/** Owner of system VMs; nobody logs in as it and no list shows it. */
export const SYSTEM_ACCOUNT = 'system';
const PATH_MAX = 255;

const blank = (text: string) => text.trim() === '' || text !== text.trim();

export function checkTimezone(timezone: string | undefined): void {
  if (timezone === undefined) return;
  try {
    new Intl.DateTimeFormat('en', { timeZone: timezone });
  } catch {
    throw new CloudError('InvalidParameter', `the time zone '${timezone.slice(0, 60)}' is not known; give one such as Europe/Berlin`);
  }
}

/** Names are compared while the domain is locked, so two of a name are never made at the same time. */
async function lockDomain(tx: Tx, id: Id<'domain'>): Promise<DomainRow> {
  const domain = await lock(tx, domains, { id });
  if (!domain || domain.removedAt) throw new CloudError('InvalidParameter', 'the domain does not exist any more');
  return domain;
}

export interface NewAccount {
  readonly name: string;
  readonly type: AccountTypeName;
  readonly roleName: string;
  readonly domainId: Id<'domain'>;
  readonly networkDomain: string | null;
}
export async function insertAccount(tx: Tx, { name, type, roleName, domainId, networkDomain }: NewAccount): Promise<AccountRow> {
  const domain = await lockDomain(tx, domainId);
  if (blank(name)) throw new CloudError('InvalidParameter', 'the name of the account is empty, or begins or ends with a space');
  if (type === 'admin' && domain.parentId !== null)
    throw new CloudError('InvalidParameter', 'a root admin account can only be in the domain ROOT');
  if (await tx.existsBy(accounts, { name, domainId, removedAt: IsNull() }))
    throw new CloudError('InvalidParameter', `The specified account: ${name} already exists`);
  const row: AccountRow = {
    id: newId('account'),
    name,
    type,
    roleName,
    domainId,
    state: 'enabled',
    networkDomain,
    number: await nextNumber(tx, 'account'),
    createdAt: new Date(),
    removedAt: null,
  };
  await tx.insert(accounts, row);
  return row;
}

export interface NewUser {
  readonly account: AccountRow;
  readonly name: string;
  readonly passwordHash: string;
  readonly firstName: string;
  readonly lastName: string;
  readonly email: string;
  readonly timezone: string | null;
}
/** A user's name is one of a kind in its domain, because a login names the domain and not the account. */
async function mustBeFreeInDomain(tx: Tx, domainId: Id<'domain'>, name: string): Promise<void> {
  await lockDomain(tx, domainId);
  if (blank(name)) throw new CloudError('InvalidParameter', 'the username is empty, or begins or ends with a space');
  const [taken] = await tx.query(
    'SELECT u.id FROM `user` u JOIN account a ON a.id = u.account_id WHERE u.name = ? AND a.domain_id = ? AND u.removed_at IS NULL AND a.removed_at IS NULL LIMIT 1',
    [name, domainId],
  );
  if (taken) throw new CloudError('InvalidParameter', `The user ${name} already exists in the domain`);
}
export async function mustBeFreeUserName(tx: Tx, accountId: Id<'account'>, name: string): Promise<void> {
  const { domainId } = await tx.findOneByOrFail(accounts, { id: accountId });
  await mustBeFreeInDomain(tx, domainId, name);
}
export async function insertUser(tx: Tx, { account, name, ...rest }: NewUser): Promise<UserRow> {
  await mustBeFreeInDomain(tx, account.domainId, name);
  const row: UserRow = {
    id: newId('user'),
    accountId: account.id,
    name,
    ...rest,
    state: 'enabled',
    apiKey: null,
    secretKey: null,
    createdAt: new Date(),
    removedAt: null,
  };
  await tx.insert(users, row);
  return row;
}

export async function insertDomain(tx: Tx, parentId: Id<'domain'>, name: string, networkDomain: string | null): Promise<DomainRow> {
  const parent = await lockDomain(tx, parentId);
  if (blank(name) || /[/\\]/.test(name))
    throw new CloudError('InvalidParameter', 'the name of a domain is not empty and has no slash, and no space at its ends');
  const path = `${parent.path}${name}/`;
  if (path.length > PATH_MAX)
    throw new CloudError('InvalidParameter', `the path ${path.slice(0, 60)}… is longer than ${PATH_MAX} characters`);
  if (await tx.existsBy(domains, { name, parentId, removedAt: IsNull() }))
    throw new CloudError('InvalidParameter', `Domain with name ${name} already exists for the parent id=${parentId}`);
  const row: DomainRow = {
    id: newId('domain'),
    name,
    parentId,
    path,
    level: parent.level + 1,
    networkDomain,
    createdAt: new Date(),
    removedAt: null,
  };
  await tx.insert(domains, row);
  return row;
}

export async function rootDomain(tx: Tx): Promise<DomainRow> {
  const root = await tx.findOneBy(domains, { parentId: IsNull() });
  if (!root) throw new CloudError('Internal', 'there is no ROOT domain');
  return root;
}

/** Owner of what the cloud makes for itself. */
export async function systemAccount(tx: Tx): Promise<AccountRow> {
  const root = await rootDomain(tx);
  const account = await tx.findOneBy(accounts, { name: SYSTEM_ACCOUNT, domainId: root.id, type: 'admin', removedAt: IsNull() });
  if (!account) throw new CloudError('Internal', 'there is no system account');
  return account;
}

export interface Keys {
  readonly apiKey: string;
  readonly secretKey: string;
}
/** A fresh pair of keys; the one before ends with it. */
export async function registerKeys({ db, secrets }: Pick<Services, 'db' | 'secrets'>, userId: Id<'user'>): Promise<Keys> {
  const keys = { apiKey: newToken(48), secretKey: newToken(48) };
  await db.transact((tx) => tx.update(users, { id: userId }, { apiKey: keys.apiKey, secretKey: secrets.seal(keys.secretKey) }));
  return keys;
}
