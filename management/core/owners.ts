/** Who can own things: domains, accounts, users. They stand in the machinery because every request has a caller and every list a scope. */
import type { Id } from '../../protocol/schema.ts';
import type { AccountTypeName } from './context.ts';
import { column, table } from './db.ts';

export interface DomainRow {
  id: Id<'domain'>;
  name: string;
  parentId: Id<'domain'> | null;
  /** With a slash at both ends: `/` is ROOT, `/a/b/` below it. */
  path: string;
  level: number;
  networkDomain: string | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const domains = table<DomainRow>(
  'domain',
  {
    id: column.key(),
    name: column.string(),
    parentId: column.nullable(column.id()),
    path: column.string(),
    level: column.int(),
    networkDomain: column.nullable(column.string()),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['path'], ['parentId']] },
);

/** Paths of domains are shown as clients know them: ROOT, ROOT/a/b. */
export const shownPath = (path: string): string => `ROOT${path.replace(/\/$/, '')}`;

export interface AccountRow {
  id: Id<'account'>;
  name: string;
  type: AccountTypeName;
  roleName: string;
  domainId: Id<'domain'>;
  state: 'enabled' | 'disabled' | 'locked';
  networkDomain: string | null;
  /** Running number in instance names: i-<number>-…. */
  number: number;
  createdAt: Date;
  removedAt: Date | null;
}
export const accounts = table<AccountRow>(
  'account',
  {
    id: column.key(),
    name: column.string(),
    type: column.word(16),
    roleName: column.string(),
    domainId: column.id(),
    state: column.word(16),
    networkDomain: column.nullable(column.string()),
    number: column.int(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['domainId', 'removedAt'], ['name']] },
);

export interface UserRow {
  id: Id<'user'>;
  accountId: Id<'account'>;
  name: string;
  passwordHash: string;
  firstName: string;
  lastName: string;
  email: string;
  timezone: string | null;
  state: 'enabled' | 'disabled' | 'locked';
  apiKey: string | null;
  /** Sealed. */
  secretKey: string | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const users = table<UserRow>(
  'user',
  {
    id: column.key(),
    accountId: column.id(),
    name: column.string(),
    passwordHash: column.word(255),
    firstName: column.string(),
    lastName: column.string(),
    email: column.string(),
    timezone: column.nullable(column.word()),
    state: column.word(16),
    apiKey: column.nullable(column.word(128)),
    secretKey: column.nullable(column.text()),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['accountId'], ['name']], uniques: [['apiKey']] },
);
export const ownerTables = [domains, accounts, users];
