/** Parameters of commands: from the texts of a request to typed values, with the texts of errors that clients match. */
import { isIPv4 } from 'node:net';
import { CloudError } from '../../protocol/errors.ts';
import { isCidr4, isUuid } from '../../protocol/schema.ts';
import { type Context, isRootAdmin } from './context.ts';
import type { Tx } from './db.ts';
import { domains } from './owners.ts';

export type ApiType = 'string' | 'uuid' | 'boolean' | 'integer' | 'long' | 'double' | 'short' | 'date' | 'list' | 'map' | 'object';

/** The texts of one parameter: one value, or the fields of `name[i].field`. */
export interface RawParam {
  readonly text?: string;
  readonly entries?: readonly { readonly index: number; readonly field: string; readonly value: string }[];
}
export type RawParams = ReadonlyMap<string, RawParam>;

export interface Place {
  readonly command: string;
  readonly param: string;
  readonly context: Context;
}

export interface Param<T, Required extends boolean = boolean> {
  readonly type: ApiType;
  readonly about: string;
  readonly required: Required;
  readonly length: number;
  /** Element type of a list. */
  readonly elem?: 'string' | 'uuid';
  readonly adminOnly: boolean;
  readonly read: (raw: RawParam, place: Place) => T | undefined | Promise<T | undefined>;
}
export type Params = { readonly [name: string]: Param<unknown> };
export type InferParams<P extends Params> = {
  readonly [K in keyof P as P[K] extends Param<unknown, true> ? K : never]: P[K] extends Param<infer T> ? T : never;
} & {
  readonly [K in keyof P as P[K] extends Param<unknown, true> ? never : K]?: P[K] extends Param<infer T> ? T | undefined : never;
};

export const invalidValue = ({ command, param }: Pick<Place, 'command' | 'param'>, value: string): CloudError =>
  new CloudError(
    'MalformedParameter',
    `Unable to execute API command ${command.toLowerCase()} due to invalid value ${value.slice(0, 300)} for parameter ${param}`,
  );
export const unknownId = ({ command, param }: Pick<Place, 'command' | 'param'>, value: string): CloudError =>
  new CloudError(
    'MalformedParameter',
    `Unable to execute API command ${command.toLowerCase()} due to invalid value. Invalid parameter ${param} value=${value.slice(0, 100)} due to incorrect long value format, or entity does not exist or due to incorrect parameter annotation for the field in api cmd class.`,
  );

const make = <T>(
  type: ApiType,
  about: string,
  read: Param<T>['read'],
  rest: { length?: number; elem?: 'string' | 'uuid'; adminOnly?: boolean } = {},
): Param<T, false> => ({
  type,
  about,
  required: false,
  length: rest.length ?? 255,
  adminOnly: rest.adminOnly ?? false,
  ...(rest.elem ? { elem: rest.elem } : {}),
  read,
});
interface TextOptions {
  max?: number;
  match?: RegExp;
  adminOnly?: boolean;
}
const fromText =
  <T>(read: (text: string, place: Place) => T | undefined | Promise<T | undefined>, { blankIsAbsent = true } = {}): Param<T>['read'] =>
  ({ text }, place) =>
    text === undefined || (blankIsAbsent && text.trim() === '') ? undefined : read(text, place);

const tooLong = ({ param }: Pick<Place, 'param'>, max: number): CloudError =>
  new CloudError('MalformedParameter', `Value greater than max allowed length ${max} for param: ${param}`);
const FIELD_NAME_MAX = 255;
/** A whole page of them; each is looked up. */
const ENTITIES_MAX = 500;

const WHOLE = /^[+-]?\d{1,19}$/;
const DECIMAL = /^[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})$/;
/** Largest value of the types that are narrower than what a number here holds exactly. */
const LARGEST: Readonly<Record<string, number>> = { integer: 2 ** 31 - 1, short: 2 ** 15 - 1 };
const numeric =
  (type: 'integer' | 'long' | 'double' | 'short') =>
  (about: string, { min, max, adminOnly = false }: { min?: number; max?: number; adminOnly?: boolean } = {}) =>
    make<number>(
      type,
      about,
      fromText((text, place) => {
        const value = (type === 'double' ? DECIMAL : WHOLE).test(text.trim()) ? Number(text.trim()) : Number.NaN;
        const largest = LARGEST[type] ?? Number.MAX_SAFE_INTEGER;
        const fits = type === 'double' || (value >= -largest - 1 && value <= largest && Number.isSafeInteger(value));
        if (!Number.isFinite(value) || !fits || (min !== undefined && value < min) || (max !== undefined && value > max))
          throw invalidValue(place, text);
        return value;
      }),
      { adminOnly },
    );

export const p = {
  string: (about: string, { max = 255, match, adminOnly = false }: TextOptions = {}) =>
    make<string>(
      'string',
      about,
      fromText(
        (text, place) => {
          if (text.length > max) throw tooLong(place, max);
          if (match && !match.test(text)) throw invalidValue(place, text);
          return text;
        },
        { blankIsAbsent: false },
      ),
      { length: max, adminOnly },
    ),
  /** A text out of a list, compared without regard to case, given back as in the list. */
  word: <const W extends readonly string[]>(about: string, words: W, { adminOnly = false }: { adminOnly?: boolean } = {}) =>
    make<W[number]>(
      'string',
      about,
      fromText((text, place) => {
        const found = words.find((word) => word.toLowerCase() === text.trim().toLowerCase());
        if (found === undefined)
          throw new CloudError(
            'InvalidParameter',
            `Invalid value '${text.slice(0, 100)}' for parameter ${place.param}; it must be one of ${words.join(', ')}`,
          );
        return found;
      }),
      { adminOnly },
    ),
  /** `true` in any case is true, everything else is false. */
  boolean: (about: string, { adminOnly = false }: { adminOnly?: boolean } = {}) =>
    make<boolean>(
      'boolean',
      about,
      fromText((text) => text.trim().toLowerCase() === 'true'),
      { adminOnly },
    ),
  integer: numeric('integer'),
  long: numeric('long'),
  double: numeric('double'),
  ip4: (about: string, { adminOnly = false }: { adminOnly?: boolean } = {}) =>
    make<string>(
      'string',
      about,
      fromText((text, place) => {
        if (!isIPv4(text.trim()))
          throw new CloudError('InvalidParameter', `Invalid ${place.param}: ${text.slice(0, 60)} is not an IPv4 address`);
        return text.trim();
      }),
      { adminOnly },
    ),
  cidr4: (about: string, { adminOnly = false }: { adminOnly?: boolean } = {}) =>
    make<string>(
      'string',
      about,
      fromText((text, place) => {
        if (!isCidr4(text.trim()))
          throw new CloudError('InvalidParameter', `Invalid ${place.param}: ${text.slice(0, 60)} is not a network such as 10.1.1.0/24`);
        return text.trim();
      }),
      { adminOnly },
    ),
  texts: (about: string, { max = 255, adminOnly = false }: { max?: number; adminOnly?: boolean } = {}) =>
    make<string[]>(
      'list',
      about,
      fromText((text, place) => {
        const found = splitList(text);
        if (found.some((each) => each.length > max)) throw tooLong(place, max);
        return found;
      }),
      { elem: 'string', length: max, adminOnly },
    ),
  /** A date with or without time; see `readDate`. */
  date: (about: string, { endOfDay = false }: { endOfDay?: boolean } = {}) =>
    make<Date>(
      'date',
      about,
      fromText((text, place) => {
        const date = readDate(text, endOfDay);
        if (!date) throw invalidValue(place, text);
        return date;
      }),
    ),
  /** `name[0].cpuNumber=2`: all indexes merged into one flat map of the field names themselves. */
  details: (about: string, { max = 4096, adminOnly = false }: { max?: number; adminOnly?: boolean } = {}) =>
    make<Record<string, string>>(
      'map',
      about,
      ({ entries }, place) => {
        if (!entries) return undefined;
        if (entries.some(({ field }) => field.length > FIELD_NAME_MAX)) throw tooLong(place, FIELD_NAME_MAX);
        if (entries.some(({ value }) => value.length > max)) throw tooLong(place, max);
        return Object.fromEntries(entries.map(({ field, value }) => [field, value]));
      },
      { length: max, adminOnly },
    ),
  /** `name[0].key=a&name[0].value=b`: one object per index, field names in lower case. */
  maps: (about: string, fields: readonly string[], { max = 4096, adminOnly = false }: { max?: number; adminOnly?: boolean } = {}) =>
    make<Record<string, string>[]>(
      'map',
      about,
      ({ entries }, place) => {
        if (!entries) return undefined;
        const rows = new Map<number, Record<string, string>>();
        for (const { index, field, value } of entries) {
          const name = field.toLowerCase();
          if (!fields.includes(name))
            throw new CloudError(
              'MalformedMap',
              `Unknown field ${field.slice(0, 60)} in parameter ${place.param}; it takes ${fields.join(', ')}`,
            );
          if (value.length > max) throw tooLong(place, max);
          const row = rows.get(index) ?? {};
          row[name] = value;
          rows.set(index, row);
        }
        return [...rows].sort(([a], [b]) => a - b).map(([, row]) => row);
      },
      { adminOnly },
    ),
  /** An object the caller may use in the said way; anything else is as if it did not exist. */
  entity: <R>(about: string, kind: EntityKind<R>, use: Use, { adminOnly = false }: { adminOnly?: boolean } = {}) =>
    make<R>(
      'uuid',
      about,
      fromText(async (text, place) => {
        const id = text.trim().toLowerCase();
        if (!isUuid(id)) throw unknownId(place, text);
        return findEntity(kind, id, use, place);
      }),
      { adminOnly },
    ),
  entities: <R>(about: string, kind: EntityKind<R>, use: Use, { adminOnly = false }: { adminOnly?: boolean } = {}) =>
    make<R[]>(
      'list',
      about,
      fromText(async (text, place) => {
        const found: R[] = [];
        const ids = new Set(splitList(text).map((id) => id.toLowerCase()));
        if (ids.size > ENTITIES_MAX) throw new CloudError('InvalidParameter', `${place.param} takes at most ${ENTITIES_MAX} ids`);
        for (const id of ids) {
          if (!isUuid(id)) throw unknownId(place, id);
          found.push(await findEntity(kind, id, use, place));
        }
        return found;
      }),
      { elem: 'uuid', adminOnly },
    ),
};

/** Makes a parameter required. */
export const required = <T>(param: Param<T, false>): Param<T, true> => ({ ...param, required: true });

const splitList = (text: string): string[] =>
  text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');

/** `list`: also removed ones, for filters; `use`: refer to it; `operate`: change it. */
export type Use = 'list' | 'use' | 'operate';
export interface EntityKind<R> {
  /** The field's word, as in messages: `zone`, `virtual machine`. */
  readonly noun: string;
  readonly find: (tx: Tx, id: string) => Promise<R | null>;
  readonly removed: (row: R) => boolean;
  /** Whose it is; null for things of the infrastructure. */
  readonly owner: (row: R) => { accountId: string; domainId: string } | null;
  /** Beyond ownership: whether a caller who is not the owner may still use it so (public templates, shared offerings). */
  readonly shared?: (row: R, use: Use, context: Context) => boolean | Promise<boolean>;
}
export const entityKind = <R>(kind: EntityKind<R>): EntityKind<R> => kind;

async function findEntity<R>(kind: EntityKind<R>, id: string, use: Use, place: Place): Promise<R> {
  const { context } = place;
  const row = await kind.find(context.db.read, id);
  if (row === null || (use !== 'list' && kind.removed(row)) || !(await may(kind, row, use, context))) throw unknownId(place, id);
  return row;
}

/** May the caller use this row in this way? */
export async function may<R>(kind: EntityKind<R>, row: R, use: Use, context: Context): Promise<boolean> {
  const { caller } = context;
  if (isRootAdmin(caller)) return true;
  const owner = kind.owner(row);
  if (owner && (owner.accountId === caller.accountId || (caller.accountType === 'domainAdmin' && (await isBelow(context, owner.domainId)))))
    return true;
  return (await kind.shared?.(row, use, context)) ?? false;
}

/** Is this domain the caller's own or below it? */
export async function isBelow(context: Context, domainId: string): Promise<boolean> {
  const domain = await context.db.read.findOneBy(domains, { id: domainId as never });
  return domain?.path.startsWith(context.caller.domainPath) ?? false;
}

/** With zone as in `expires`; or `yyyy-MM-dd HH:mm:ss`; or `yyyy-MM-dd`, start or end of that day. UTC where no zone is given. */
export function readDate(text: string, endOfDay = false): Date | null {
  const trimmed = text
    .trim()
    .replace(/Z\+0000$/, 'Z')
    .replace(/([+-]\d{2})(\d{2})$/, '$1:$2');
  const day = /^\d{4}-\d{2}-\d{2}$/.test(trimmed);
  const zoneless = /^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}$/.test(trimmed);
  const zoned = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/.test(trimmed);
  if (!day && !zoneless && !zoned) return null;
  const iso = day ? `${trimmed}T${endOfDay ? '23:59:59' : '00:00:00'}Z` : zoneless ? `${trimmed.replace(' ', 'T')}Z` : trimmed;
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? null : date;
}
