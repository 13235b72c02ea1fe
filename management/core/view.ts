/** What the API shows of a row, declared once: from it come the reply, `listApis` and the reference pages. */

export type FieldType =
  | 'string'
  | 'short'
  | 'integer'
  | 'long'
  | 'short'
  | 'double'
  | 'boolean'
  | 'date'
  | 'list'
  | 'set'
  | 'map'
  | 'object';
export interface Field<R> {
  readonly type: FieldType;
  readonly about: string;
  readonly get: (row: R) => unknown;
  /** Left out for everybody but root admins. */
  readonly adminOnly: boolean;
  /** Fields of the objects in a list, or of a nested object. */
  readonly of?: Fields<never>;
}
export type Fields<R> = { readonly [name: string]: Field<R> };
export interface View<R> {
  /** Name of the object in the API's contract, such as ZoneResponse. */
  readonly object: string;
  /** Key of the object, or of the list of them, in replies. */
  readonly key: string;
  readonly fields: Fields<R>;
}

type Maybe<T> = T | null | undefined;
interface FieldOptions {
  adminOnly?: boolean;
}
const scalar =
  <T>(type: FieldType) =>
  <R>(about: string, get: (row: R) => Maybe<T>, { adminOnly = false }: FieldOptions = {}): Field<R> => ({ type, about, get, adminOnly });

export const f = {
  string: scalar<string>('string'),
  integer: scalar<number>('integer'),
  long: scalar<number>('long'),
  short: scalar<number>('short'),
  double: scalar<number>('double'),
  boolean: scalar<boolean>('boolean'),
  date: scalar<Date>('date'),
  map: scalar<Readonly<Record<string, unknown>>>('map'),
  /** A list of plain texts. */
  texts: scalar<readonly string[]>('list'),
  list: <R, E>(about: string, get: (row: R) => Maybe<readonly E[]>, of: Fields<E>, { adminOnly = false }: FieldOptions = {}): Field<R> => ({
    type: 'list',
    about,
    adminOnly,
    get: (row) => get(row)?.map((each) => ({ fields: of, row: each })),
    of: of as Fields<never>,
  }),
  /** Like a list; the contract calls some of them sets. */
  set: <R, E>(about: string, get: (row: R) => Maybe<readonly E[]>, of: Fields<E>, { adminOnly = false }: FieldOptions = {}): Field<R> => ({
    type: 'set',
    about,
    adminOnly,
    get: (row) => get(row)?.map((each) => ({ fields: of, row: each })),
    of: of as Fields<never>,
  }),
  object: <R, E>(about: string, get: (row: R) => Maybe<E>, of: Fields<E>, { adminOnly = false }: FieldOptions = {}): Field<R> => ({
    type: 'object',
    about,
    adminOnly,
    get: (row) => {
      const value = get(row);
      return value === null || value === undefined ? undefined : { fields: of, row: value };
    },
    of: of as Fields<never>,
  }),
};

export const view = <R>(object: string, key: string, fields: Fields<R>): View<R> => ({ object, key, fields });

/** `2026-01-02T03:04:05+0000` */
export const apiDate = (date: Date): string => `${date.toISOString().slice(0, 19)}+0000`;

/** The reply's object. Empty values are left out, never null. */
export function show<R>(fields: Fields<R>, row: R, { admin }: { admin: boolean }): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(fields)) {
    if (field.adminOnly && !admin) continue;
    const value = plain(field.get(row), admin);
    if (value !== undefined) shown[name] = value;
  }
  return shown;
}

function plain(value: unknown, admin: boolean): unknown {
  if (value === null || value === undefined) return undefined;
  if (value instanceof Date) return apiDate(value);
  if (Array.isArray(value)) return value.map((each) => plain(each, admin));
  if (typeof value === 'object' && 'fields' in value && 'row' in value) return show(value.fields as Fields<unknown>, value.row, { admin });
  return value;
}
