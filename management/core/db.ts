/** The only file that configures TypeORM: tables, columns, transactions and the guarded state move. */
import {
  DataSource,
  DefaultNamingStrategy,
  type EntityManager,
  EntitySchema,
  type EntitySchemaColumnOptions,
  type MigrationInterface,
  type ObjectLiteral,
} from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/log.ts';

export type Tx = EntityManager;
export type Table<T> = EntitySchema<T>;
export type { EntityManager };

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
class SnakeCase extends DefaultNamingStrategy {
  override tableName(target: string, given: string | undefined): string {
    return given ?? snake(target);
  }
  override columnName(property: string, given: string, prefixes: string[]): string {
    return [...prefixes.map(snake), given || snake(property)].join('_');
  }
  override indexName(table: { name: string } | string, columns: string[]): string {
    return `ix_${typeof table === 'string' ? table : table.name}_${columns.join('_')}`.slice(0, 64);
  }
}

const asNumber = {
  to: (value: number | null) => value,
  from: (value: string | number | null) => (value === null ? null : Number(value)),
};

/** Column kinds. Everything is NOT NULL unless made `nullable(…)`. */
export const column = {
  /** Primary key: a UUID. */
  key: (): EntitySchemaColumnOptions => ({ type: 'char', length: 36, charset: 'ascii', collation: 'ascii_bin', primary: true }),
  id: (): EntitySchemaColumnOptions => ({ type: 'char', length: 36, charset: 'ascii', collation: 'ascii_bin' }),
  /** Machine-readable words: states, names of kinds, addresses. Compared by bytes. */
  word: (length = 64): EntitySchemaColumnOptions => ({ type: 'varchar', length, charset: 'ascii', collation: 'ascii_bin' }),
  string: (length = 255): EntitySchemaColumnOptions => ({ type: 'varchar', length, charset: 'utf8mb4', collation: 'utf8mb4_general_ci' }),
  text: (): EntitySchemaColumnOptions => ({ type: 'mediumtext', charset: 'utf8mb4', collation: 'utf8mb4_general_ci' }),
  int: (): EntitySchemaColumnOptions => ({ type: 'int' }),
  bigint: (): EntitySchemaColumnOptions => ({ type: 'bigint', transformer: asNumber }),
  double: (): EntitySchemaColumnOptions => ({ type: 'double' }),
  boolean: (): EntitySchemaColumnOptions => ({ type: 'boolean' }),
  time: (): EntitySchemaColumnOptions => ({ type: 'datetime', precision: 3 }),
  json: (): EntitySchemaColumnOptions => ({
    type: 'mediumtext',
    charset: 'utf8mb4',
    collation: 'utf8mb4_bin',
    transformer: {
      to: (value: unknown) => (value === null || value === undefined ? null : JSON.stringify(value)),
      from: (value: string | null) => (value === null ? null : JSON.parse(value)),
    },
  }),
  nullable: (options: EntitySchemaColumnOptions): EntitySchemaColumnOptions => ({ ...options, nullable: true }),
  primary: (options: EntitySchemaColumnOptions): EntitySchemaColumnOptions => ({ ...options, primary: true }),
};

/** A table beside a plain interface. Column names are the properties in snake_case. */
export function table<T>(
  name: string,
  columns: { readonly [K in keyof T]-?: EntitySchemaColumnOptions },
  { indices = [], uniques = [] }: { indices?: readonly (keyof T & string)[][]; uniques?: readonly (keyof T & string)[][] } = {},
): Table<T> {
  return new EntitySchema<T>({
    name,
    columns: columns as EntitySchema<T>['options']['columns'],
    indices: [...indices.map((each) => ({ columns: each })), ...uniques.map((each) => ({ columns: each, unique: true }))],
  });
}

export interface DatabaseConfig {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly socketPath?: string | undefined;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly poolSize: number;
}

const RETRIES_MAX = 8;
/** Deadlock, lock wait timeout, and MariaDB's «record has changed since last read». */
const TRANSIENT = new Set([1213, 1205, 1020]);
const GONE = new Set([
  'ECONNREFUSED',
  'PROTOCOL_CONNECTION_LOST',
  'ENOENT',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ER_SERVER_SHUTDOWN',
  'POOL_CLOSED',
]);

export interface Database {
  readonly source: DataSource;
  /** For reading outside a transaction. */
  readonly read: EntityManager;
  /** Runs `work` in one transaction at READ COMMITTED; deadlocks run it again, so it must have no effect outside the database. */
  transact: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** One statement, rows as plain objects; for reads that want SQL. */
  rows: <R>(sql: string, parameters?: readonly unknown[]) => Promise<R[]>;
  close: () => Promise<void>;
}

export async function openDatabase(
  config: DatabaseConfig,
  tables: readonly Table<never>[],
  migrations: readonly (new () => MigrationInterface)[],
  log: Log,
): Promise<Database> {
  const source = new DataSource({
    type: 'mariadb',
    ...(config.socketPath ? { socketPath: config.socketPath } : { host: config.host ?? '127.0.0.1', port: config.port ?? 3306 }),
    username: config.user,
    password: config.password,
    database: config.database,
    entities: [...tables] as EntitySchema[],
    migrations: [...migrations],
    migrationsTableName: 'migration',
    namingStrategy: new SnakeCase(),
    synchronize: false,
    timezone: 'Z',
    charset: 'utf8mb4_general_ci',
    supportBigNumbers: true,
    poolSize: config.poolSize,
    extra: { connectionLimit: config.poolSize, maxIdle: config.poolSize, idleTimeout: 60_000, queueLimit: 10_000, connectTimeout: 5000 },
  });
  await source.initialize().catch((error: unknown) => {
    throw databaseError(error);
  });
  const transact = async <T>(work: (tx: Tx) => Promise<T>): Promise<T> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await source.transaction('READ COMMITTED', work);
      } catch (error) {
        if (!isTransient(error) || attempt === RETRIES_MAX) throw databaseError(error);
        log.debug({ attempt }, 'transaction met a deadlock and runs again');
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 20 * attempt));
      }
    }
  };
  return {
    source,
    read: source.manager,
    transact,
    rows: async <R>(sql: string, parameters: readonly unknown[] = []) => {
      try {
        return (await source.query(sql, [...parameters])) as R[];
      } catch (error) {
        throw databaseError(error);
      }
    },
    close: () => source.destroy(),
  };
}

const field = (error: unknown, name: string): unknown =>
  typeof error === 'object' && error !== null
    ? (Reflect.get(error, name) ?? Reflect.get(Object(Reflect.get(error, 'driverError')), name))
    : undefined;
const isTransient = (error: unknown) => TRANSIENT.has(Number(field(error, 'errno')));
export const isDuplicate = (error: unknown) => Number(field(error, 'errno')) === 1062;

/** What a caller may know of a database error; everything else goes to the log as its cause. */
export function databaseError(error: unknown): unknown {
  if (error instanceof CloudError) return error;
  const code = field(error, 'code');
  const message = error instanceof Error ? error.message : '';
  if (GONE.has(String(code)) || /closed state|Connection is closed|Pool is closed/.test(message)) {
    return new CloudError('Unavailable', 'the database cannot be reached at the moment; please try again', { cause: error });
  }
  return error;
}

interface Stateful {
  id: string;
  state: string;
  generation: number;
}

/**
 * One guarded UPDATE: either this caller moved the object, or someone else did first. `changes` are written with it. Returns the row
 * as it is now.
 */
export async function move<T extends Stateful & ObjectLiteral>(
  tx: Tx,
  where: Table<T>,
  machine: { noun: string; next: (from: never, event: never) => string },
  row: T,
  event: string,
  changes: Partial<T> = {},
): Promise<T> {
  const state = machine.next(row.state as never, event as never);
  const next = { ...changes, state, generation: row.generation + 1 };
  const { affected } = await tx.update(where, { id: row.id, state: row.state, generation: row.generation } as never, next as never);
  if (affected !== 1) throw new CloudError('Conflict', `the ${machine.noun} changed meanwhile; please try again`, { id: row.id, event });
  return { ...row, ...next };
}

/** The row with its lock taken, or null. */
export const lock = <T extends ObjectLiteral>(tx: Tx, from: Table<T>, where: Partial<T>): Promise<T | null> =>
  tx.findOne(from, { where: where as never, lock: { mode: 'pessimistic_write' } });
