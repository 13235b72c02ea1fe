/**
 * Who may read or change whom. Rights are compared, never names of roles: nobody reaches an account or user that may do something he
 * may not. A root admin reaches everybody, a domain admin those at or below his domain who are no root admins, a user himself.
 */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import type { AccountTypeName, Caller, Context } from '../core/context.ts';
import { isRootAdmin } from '../core/context.ts';
import type { Tx } from '../core/db.ts';
import { type AccountRow, accounts, type DomainRow, domains, type UserRow, users } from '../core/owners.ts';
import { entityKind, type Use } from '../core/params.ts';
import { type RoleRow, roles } from './entities.ts';

export interface Principal {
  readonly type: AccountTypeName;
  readonly domainPath: string;
  readonly accountId: Id<'account'>;
  /** Null where the account as a whole is meant. */
  readonly userId: Id<'user'> | null;
}
type Governor = Pick<Caller, 'accountType' | 'domainPath' | 'accountId' | 'userId'>;

export function mayReach(caller: Governor, target: Principal, use: Use): boolean {
  if (caller.accountType === 'admin') return true;
  if (target.type === 'admin') return false;
  if (caller.accountType === 'domainAdmin' && target.domainPath.startsWith(caller.domainPath)) return true;
  return target.userId === null ? use !== 'operate' && target.accountId === caller.accountId : target.userId === caller.userId;
}
/** May the caller make, or give someone, this type of account? */
export const mayGrant = (caller: Pick<Caller, 'accountType'>, type: AccountTypeName): boolean =>
  caller.accountType === 'admin' || (caller.accountType === 'domainAdmin' && type !== 'admin');

export const accountKind = entityKind<AccountRow>({
  noun: 'account',
  find: (tx, id) => tx.findOneBy(accounts, { id: id as Id<'account'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
  shared: async ({ id, type, domainId }, use, context) =>
    mayReach(context.caller, { type, accountId: id, userId: null, domainPath: await pathOf(context.db.read, domainId) }, use),
});
export const userKind = entityKind<UserRow>({
  noun: 'user',
  find: (tx, id) => tx.findOneBy(users, { id: id as Id<'user'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
  shared: async ({ id, accountId }, use, context) => {
    const account = await context.db.read.findOneBy(accounts, { id: accountId });
    if (!account) return false;
    const domainPath = await pathOf(context.db.read, account.domainId);
    return mayReach(context.caller, { type: account.type, accountId, userId: id, domainPath }, use);
  },
});
export const roleKind = entityKind<RoleRow>({
  noun: 'role',
  find: (tx, id) => tx.findOneBy(roles, { id: id as Id<'role'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
  shared: ({ type }, _use, { caller }) => mayGrant(caller, type),
});

async function pathOf(tx: Tx, id: Id<'domain'>): Promise<string> {
  const domain = await tx.findOneBy(domains, { id });
  if (!domain) throw new CloudError('Internal', 'an account has no domain', { id });
  return domain.path;
}

export interface Owner {
  readonly accountId: Id<'account'>;
  readonly domainId: Id<'domain'>;
}

/** The account by name that the caller may act for, in the given domain or his own. */
export async function findAccount(
  { db, caller }: Pick<Context, 'db' | 'caller'>,
  name: string,
  domain: DomainRow | undefined,
  use: Use,
): Promise<AccountRow> {
  const domainId = domain?.id ?? caller.domainId;
  const account = await db.read.findOneBy(accounts, { name, domainId, removedAt: IsNull() });
  const domainPath = domain?.path ?? caller.domainPath;
  if (!account || !mayReach(caller, { type: account.type, accountId: account.id, userId: null, domainPath }, use)) {
    throw new CloudError('InvalidParameter', `Unable to find account ${name} in the domain`);
  }
  return account;
}

/** Whose a new thing will be: the caller's, or the account's named by `account` and `domainid`. */
export async function ownerOf(
  context: Pick<Context, 'db' | 'caller'>,
  { account, domainid }: { readonly account?: string | undefined; readonly domainid?: DomainRow | undefined },
): Promise<Owner> {
  const { caller } = context;
  if (account === undefined) {
    if (domainid !== undefined && domainid.id !== caller.domainId)
      throw new CloudError('InvalidParameter', 'account and domainid must be given together');
    return { accountId: caller.accountId, domainId: caller.domainId };
  }
  const owner = await findAccount(context, account, domainid, 'use');
  if (owner.state !== 'enabled' && !isRootAdmin(caller)) throw new CloudError('Forbidden', `the account ${account} is ${owner.state}`);
  return { accountId: owner.id, domainId: owner.domainId };
}
