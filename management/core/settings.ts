/** Settings kept in the database, by scope, all live: a change counts within seconds on every management server. */
import { CloudError } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/log.ts';
import type { Database } from './db.ts';
import { type SettingRow, type SettingScope, settingRows } from './tables.ts';

export type SettingType = 'String' | 'Number' | 'Boolean' | 'Decimal' | 'CSV';
export interface Setting<T> {
  readonly name: string;
  readonly type: SettingType;
  readonly defaultValue: string;
  readonly about: string;
  readonly category: string;
  readonly scopes: readonly SettingScope[];
  /** Shown as `***`, kept sealed. */
  readonly secret: boolean;
  /** Text to value; throws InvalidParameter when the text is not acceptable. */
  readonly read: (text: string) => T;
}
export type AnySetting = Setting<unknown>;

interface Options {
  about: string;
  category?: string;
  scopes?: readonly SettingScope[];
}
const define = <T>(name: string, type: SettingType, defaultValue: string, read: (text: string) => T, options: Options): Setting<T> => ({
  name,
  type,
  defaultValue,
  read,
  about: options.about,
  category: options.category ?? 'Advanced',
  scopes: options.scopes ?? ['global'],
  secret: false,
});

export const setting = {
  string: (name: string, defaultValue: string, options: Options & { match?: RegExp }): Setting<string> =>
    define(
      name,
      'String',
      defaultValue,
      (text) => {
        if (options.match && text !== '' && !options.match.test(text))
          throw new CloudError('InvalidParameter', `${name} cannot be '${text}'`);
        return text;
      },
      options,
    ),
  integer: (name: string, defaultValue: number, options: Options & { min?: number; max?: number }): Setting<number> =>
    define(
      name,
      'Number',
      String(defaultValue),
      (text) => number(name, text, options.min ?? 0, options.max ?? Number.MAX_SAFE_INTEGER, true),
      options,
    ),
  decimal: (name: string, defaultValue: number, options: Options & { min?: number; max?: number }): Setting<number> =>
    define(name, 'Decimal', String(defaultValue), (text) => number(name, text, options.min ?? 0, options.max ?? 1e9, false), options),
  boolean: (name: string, defaultValue: boolean, options: Options): Setting<boolean> =>
    define(
      name,
      'Boolean',
      String(defaultValue),
      (text) => {
        if (!/^(true|false)$/i.test(text)) throw new CloudError('InvalidParameter', `${name} must be true or false`);
        return text.toLowerCase() === 'true';
      },
      options,
    ),
  list: (name: string, defaultValue: string, options: Options): Setting<string[]> =>
    define(
      name,
      'CSV',
      defaultValue,
      (text) =>
        text
          .split(',')
          .map((each) => each.trim())
          .filter((each) => each !== ''),
      options,
    ),
};

function number(name: string, text: string, min: number, max: number, whole: boolean): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || (whole && !Number.isInteger(value)) || value < min || value > max) {
    throw new CloudError('InvalidParameter', `${name} must be a ${whole ? 'whole ' : ''}number from ${min} to ${max}`);
  }
  return value;
}

export interface Settings {
  readonly all: readonly AnySetting[];
  /** The value at the narrowest scope that has one. */
  get: <T>(setting: Setting<T>, at?: Partial<Record<Exclude<SettingScope, 'global'>, string>>) => T;
  /** The text at exactly this scope, or undefined. */
  at: (name: string, scope: SettingScope, scopeId: string) => string | undefined;
  set: (name: string, scope: SettingScope, scopeId: string, text: string) => Promise<void>;
  reset: (name: string, scope: SettingScope, scopeId: string) => Promise<void>;
  reload: () => Promise<void>;
  close: () => void;
}

const NARROW_FIRST: readonly Exclude<SettingScope, 'global'>[] = ['storagepool', 'imagestore', 'cluster', 'zone', 'account', 'domain'];
const RELOAD_MS = 5000;

/** `onChange` is called on every management server when a value has become another one. */
export async function openSettings(
  db: Database,
  definitions: readonly AnySetting[],
  log: Log,
  onChange: () => void = () => {},
): Promise<Settings> {
  let texts = new Map<string, string>();
  const key = ({ name, scope, scopeId }: Pick<SettingRow, 'name' | 'scope' | 'scopeId'>) => `${name}\n${scope}\n${scopeId}`;
  const byName = new Map(definitions.map((each) => [each.name, each]));
  const told = new Set<string>();
  let asked = 0;
  let shown = 0;
  const reload = async () => {
    asked += 1;
    const mine = asked;
    const rows = await db.read.find(settingRows);
    // One that was asked for later has been answered before: what this one read is older.
    if (mine < shown) return;
    shown = mine;
    const before = texts;
    texts = new Map(rows.map((row) => [key(row), row.value]));
    if (before.size !== texts.size || [...texts].some(([name, value]) => before.get(name) !== value)) onChange();
  };
  await reload();
  const timer = setInterval(
    () => void reload().catch((error: unknown) => log.warn({ err: error }, 'settings could not be read again')),
    RELOAD_MS,
  );
  timer.unref();
  const find = (name: string): AnySetting => {
    const found = byName.get(name);
    if (!found) throw new CloudError('InvalidParameter', `there is no setting ${name}`);
    return found;
  };
  return {
    all: definitions,
    get: ({ name, read, defaultValue }, at = {}) => {
      const narrow = NARROW_FIRST.filter((scope) => at[scope] !== undefined).map((scope) => ({ name, scope, scopeId: at[scope] ?? '' }));
      for (const place of [...narrow, { name, scope: 'global' as const, scopeId: '' }]) {
        const text = texts.get(key(place));
        if (text === undefined) continue;
        try {
          return read(text);
        } catch (error) {
          // A release may allow less than the one before; nothing that reads the setting must fail for that.
          if (!told.has(key(place)))
            log.warn({ err: error, setting: name, scope: place.scope }, 'a value that is not allowed any more is passed over');
          told.add(key(place));
        }
      }
      return read(defaultValue);
    },
    at: (name, scope, scopeId) => texts.get(key({ name, scope, scopeId })),
    set: async (name, scope, scopeId, text) => {
      const definition = find(name);
      if (!definition.scopes.includes(scope)) throw new CloudError('InvalidParameter', `the setting ${name} cannot be set for a ${scope}`);
      definition.read(text);
      await db.transact((tx) =>
        tx.upsert(settingRows, { name, scope, scopeId, value: text, updatedAt: new Date() }, ['name', 'scope', 'scopeId']),
      );
      await reload();
    },
    reset: async (name, scope, scopeId) => {
      find(name);
      await db.transact((tx) => tx.delete(settingRows, { name, scope, scopeId }));
      await reload();
    },
    reload,
    close: () => clearInterval(timer),
  };
}
