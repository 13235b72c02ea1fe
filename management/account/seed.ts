/** What is there from the first start: roles, the domain ROOT, the accounts system and admin. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { Secret } from '../../protocol/schema.ts';
import type { AccountTypeName } from '../core/context.ts';
import { nextNumber } from '../core/counters.ts';
import type { Tx } from '../core/db.ts';
import { accounts, type DomainRow, domains } from '../core/owners.ts';
import { hashPassword } from '../core/secrets.ts';
import type { Services } from '../core/services.ts';
import { insertAccount, insertUser, SYSTEM_ACCOUNT } from './accounts.ts';
import { nobodysHash } from './callers.ts';
import { roles } from './entities.ts';

export const roleNames: Readonly<Record<AccountTypeName, string>> = { admin: 'Root Admin', domainAdmin: 'Domain Admin', user: 'User' };
const descriptions: Readonly<Record<AccountTypeName, string>> = {
  admin: 'May do everything in the whole cloud',
  domainAdmin: 'May do everything for the accounts of a domain and of those below it',
  user: 'May use the cloud for its own account',
};

export async function seedAccounts({ db, config, log }: Pick<Services, 'db' | 'config' | 'log'>): Promise<void> {
  void nobodysHash();
  await db.transact(async (tx) => {
    // The counter's row is locked until the commit, so several servers that start at once seed one after the other.
    await nextNumber(tx, 'seed.account');
    for (const type of ['admin', 'domainAdmin', 'user'] as const) await seedRole(tx, type);
    const root = (await tx.findOneBy(domains, { parentId: IsNull() })) ?? (await seedRoot(tx));
    const admin = { type: 'admin', roleName: roleNames.admin, domainId: root.id, networkDomain: null } as const;
    if (!(await tx.existsBy(accounts, { name: SYSTEM_ACCOUNT, domainId: root.id })))
      await insertAccount(tx, { ...admin, name: SYSTEM_ACCOUNT });
    if (await tx.existsBy(accounts, { name: 'admin', domainId: root.id })) return;
    const account = await insertAccount(tx, { ...admin, name: 'admin' });
    const path = join(config.varDirectory, 'admin-password');
    await insertUser(tx, {
      account,
      name: 'admin',
      passwordHash: await hashPassword(await readOrMakePassword(config.varDirectory, path)),
      firstName: 'Admin',
      lastName: 'User',
      email: 'admin@localhost',
      timezone: null,
    });
    log.info({ path }, 'the administrator is made; the password is in the file');
  });
}

async function seedRole(tx: Tx, type: AccountTypeName): Promise<void> {
  if (await tx.existsBy(roles, { name: roleNames[type], builtIn: true })) return;
  await tx.insert(roles, {
    id: newId('role'),
    name: roleNames[type],
    type,
    description: descriptions[type],
    builtIn: true,
    createdAt: new Date(),
    removedAt: null,
  });
}

async function seedRoot(tx: Tx): Promise<DomainRow> {
  const row: DomainRow = {
    id: newId('domain'),
    name: 'ROOT',
    parentId: null,
    path: '/',
    level: 0,
    networkDomain: null,
    createdAt: new Date(),
    removedAt: null,
  };
  await tx.insert(domains, row);
  return row;
}

/** The password in the file counts when there is one: an operator may have chosen it, or an earlier start died after writing it. */
async function readOrMakePassword(directory: string, path: string): Promise<Secret> {
  const known = await readPassword(path);
  if (known) return known;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const password = randomBytes(15).toString('base64url');
  const file = await open(path, 'w', 0o600);
  try {
    await file.chmod(0o600);
    await file.writeFile(`${password}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  return new Secret(password);
}

async function readPassword(path: string): Promise<Secret | null> {
  try {
    const text = (await readFile(path, 'utf8')).trim();
    return text === '' ? null : new Secret(text);
  } catch (error) {
    if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT') return null;
    throw new CloudError('Internal', `the file ${path} cannot be read`, { cause: error });
  }
}
