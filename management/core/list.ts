/**
 * The list kernel: filters and scope select ids with one statement, a second counts them, and rows are loaded by id in a fixed number
 * of statements, so the cost of a page does not grow with the table's neighbours.
 */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import type { Page } from './command.ts';
import { type Context, isRootAdmin } from './context.ts';
import { accounts, type DomainRow, domains } from './owners.ts';
import { entityKind, p } from './params.ts';
import { setting } from './settings.ts';

export const defaultPageSize = setting.integer('default.page.size', 500, {
  min: 1,
  max: 10_000,
  about: 'Rows of a list when no page is asked for, and the largest page.',
  category: 'Advanced',
});

export const domainKind = entityKind<DomainRow>({
  noun: 'domain',
  find: (tx, id) => tx.findOneBy(domains, { id: id as never }),
  removed: (row) => row.removedAt !== null,
  owner: () => null,
  shared: (row, _use, { caller }) =>
    row.id === caller.domainId || (caller.accountType === 'domainAdmin' && row.path.startsWith(caller.domainPath)),
});

export const pageParams = {
  keyword: p.string('only rows whose name, or the like, contains this'),
  page: p.integer('number of the page, from 1; goes together with pagesize', { min: 1 }),
  pagesize: p.integer('rows on a page; -1, without page, for no limit', { min: -1 }),
};
export const ownerParams = {
  account: p.string('only what this account owns; goes together with domainid'),
  domainid: p.entity('only what is owned in this domain', domainKind, 'use'),
  isrecursive: p.boolean('also what is owned in the domains below domainid'),
  listall: p.boolean('everything the caller may see, not only what is its own'),
};
export interface PageParams {
  readonly keyword?: string | undefined;
  readonly page?: number | undefined;
  readonly pagesize?: number | undefined;
}
export interface OwnerParams {
  readonly account?: string | undefined;
  readonly domainid?: DomainRow | undefined;
  readonly isrecursive?: boolean | undefined;
  readonly listall?: boolean | undefined;
}

/** A piece of WHERE with its values, or null when the filter was not given. */
export type Filter = { readonly sql: string; readonly values: readonly unknown[] } | null;
export const where = {
  equal: (column: string, value: string | number | boolean | null | undefined): Filter =>
    value === undefined || value === null ? null : { sql: `${column} = ?`, values: [value] },
  oneOf: (column: string, values: readonly (string | number)[] | undefined): Filter =>
    values === undefined ? null : values.length === 0 ? { sql: 'FALSE', values: [] } : { sql: `${column} IN (?)`, values: [values] },
  contains: (column: string, text: string | undefined): Filter =>
    text === undefined ? null : { sql: `${column} LIKE ?`, values: [`%${text.replace(/[\\%_]/g, '\\$&')}%`] },
  sql: (sql: string, ...values: readonly unknown[]): Filter => ({ sql, values }),
};

export interface ListSpec<V> {
  /** FROM clause; the listed table has the alias `t`. */
  readonly from: string;
  readonly where: readonly Filter[];
  /** Columns that `keyword` looks into. */
  readonly keyword?: readonly string[];
  /** Given for owned things: `t.account_id` and `t.domain_id` are compared with the caller's scope. `byId`: an id was asked for. */
  readonly scope?: OwnerParams & { readonly byId?: boolean };
  /** ORDER BY; ids are in the order of making, so the default is newest last. */
  readonly order?: string;
  /** Rows for these ids, in any order, with their `id`. */
  readonly load: (ids: readonly string[]) => Promise<readonly (V & { readonly id: string })[]>;
}

export async function list<V>(context: Context, page: PageParams, spec: ListSpec<V>): Promise<Page<V>> {
  const { limit, offset } = window(context, page);
  const keyword = page.keyword;
  const filters: Filter[] = [
    ...spec.where,
    ...(spec.scope ? await scopeFilters(context, spec.scope) : []),
    keyword && spec.keyword
      ? {
          sql: `(${spec.keyword.map((column) => `${column} LIKE ?`).join(' OR ')})`,
          values: spec.keyword.map(() => `%${keyword.replace(/[\\%_]/g, '\\$&')}%`),
        }
      : null,
  ];
  const given = filters.filter((each) => each !== null);
  const condition = given.length === 0 ? '' : `WHERE ${given.map(comparable).join(' AND ')}`;
  const values = given.flatMap((each) => each.values);
  const ids = (
    await context.db.rows<{ id: string }>(
      `SELECT t.id AS id FROM ${spec.from} ${condition} ORDER BY ${spec.order ?? 't.id'} LIMIT ? OFFSET ?`,
      [...values, limit, offset],
    )
  ).map(({ id }) => id);
  const alone = offset === 0 && ids.length < limit;
  const count = alone ? ids.length : await countRows(context, spec.from, condition, values);
  if (ids.length === 0) return { count, rows: [] };
  const byId = new Map((await spec.load(ids)).map((row) => [row.id, row]));
  return { count, rows: ids.flatMap((id) => byId.get(id) ?? []) };
}

/** Columns of words are ASCII. Other letters are in none of them, and must be told how to compare, or the database refuses the statement. */
function comparable({ sql, values }: NonNullable<Filter>): string {
  let index = 0;
  return sql.replaceAll('?', () => (/[^ -~]/.test(String(values[index++])) ? '? COLLATE utf8mb4_general_ci' : '?'));
}

async function countRows(context: Context, from: string, condition: string, values: readonly unknown[]): Promise<number> {
  const [row] = await context.db.rows<{ n: string | number }>(`SELECT COUNT(*) AS n FROM ${from} ${condition}`, values);
  return Number(row?.n ?? 0);
}

/** A page of rows that are at hand already and come from no table. */
export function pageOf<V>(context: Context, page: PageParams, rows: readonly V[]): Page<V> {
  const { limit, offset } = window(context, page);
  return { count: rows.length, rows: rows.slice(offset, offset + limit) };
}

function window(context: Context, { page, pagesize }: PageParams): { limit: number; offset: number } {
  const largest = context.settings.get(defaultPageSize);
  if (page !== undefined && pagesize === undefined)
    throw new CloudError('InvalidParameter', 'Page size must be given together with the page number');
  if (pagesize === -1) {
    if (page !== undefined) throw new CloudError('InvalidParameter', 'A page size of -1 means no limit and goes without a page number');
    return { limit: 1_000_000, offset: 0 };
  }
  if (pagesize === undefined) return { limit: largest, offset: 0 };
  if (page === undefined) throw new CloudError('InvalidParameter', 'The page number must be given together with the page size');
  if (pagesize < 1) throw new CloudError('InvalidParameter', 'Page size must be at least 1');
  if (pagesize > largest) throw new CloudError('InvalidParameter', `Page size can't exceed max allowed page size value: ${largest}`);
  return { limit: pagesize, offset: (page - 1) * pagesize };
}

/** Whose things a caller gets: see wire rules on lists. */
export async function scopeFilters(
  context: Context,
  { account, domainid, isrecursive = false, listall = false, byId = false }: OwnerParams & { byId?: boolean },
): Promise<Filter[]> {
  const { caller } = context;
  if (account !== undefined) {
    const domainId = domainid?.id ?? caller.domainId;
    const owner = await context.db.read.findOneBy(accounts, { name: account, domainId, removedAt: IsNull() });
    const allowed = owner && (isRootAdmin(caller) || caller.accountType === 'domainAdmin' || owner.id === caller.accountId);
    if (!allowed) throw new CloudError('InvalidParameter', `Unable to find account ${account} in the domain`);
    return [where.equal('t.account_id', owner.id)];
  }
  if (domainid !== undefined && caller.accountType !== 'user') {
    return isrecursive ? [belowDomain(domainid.path)] : [where.equal('t.domain_id', domainid.id)];
  }
  if (caller.accountType === 'user') return [where.equal('t.account_id', caller.accountId)];
  if (!listall && !byId) return [where.equal('t.account_id', caller.accountId)];
  return isRootAdmin(caller) ? [] : [belowDomain(caller.domainPath)];
}

const belowDomain = (path: string): Filter => ({
  sql: 't.domain_id IN (SELECT d.id FROM domain d WHERE d.path LIKE ?)',
  values: [`${path.replace(/[\\%_]/g, '\\$&')}%`],
});
