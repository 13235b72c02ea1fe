import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { z } from 'zod';
import { CloudError } from '../protocol/errors.ts';
import { readJsonIfAny, writeJsonWhole } from './files.ts';
import { withLock } from './lock.ts';
import { type DatabaseConnection, mariadbConnection, mariadbStatus, SCRATCH_PREFIX, startMariadb, stopMariadb } from './mariadb.ts';
import {
  emptyRedisDatabase,
  REDIS_DATABASE_COUNT,
  type RedisConnection,
  redisConnection,
  redisStatus,
  startRedis,
  stopRedis,
} from './redis.ts';
import { servicePlaces } from './service-places.ts';

export type { DatabaseConnection } from './mariadb.ts';
export type { RedisConnection } from './redis.ts';

export interface ServiceConnections {
  readonly database: DatabaseConnection;
  readonly redis: RedisConnection;
}

export interface ServicesOptions {
  readonly varDir: string;
  readonly durability?: 'safe' | 'fast';
}

export interface ServicesStatus {
  readonly mariadb: 'running' | 'stopped';
  readonly redis: 'running' | 'stopped';
}

const locked = <T>(varDir: string, about: string, work: () => Promise<T>): Promise<T> =>
  withLock(join(resolve(varDir), 'services.lock'), { timeoutSeconds: 180, about }, work);

/** The private MariaDB and Redis of one var directory: started once, however many ask at the same time. */
export const startServices = ({ varDir, durability = 'safe' }: ServicesOptions): Promise<ServiceConnections> =>
  locked(varDir, 'starting the database', async () => {
    const [database, redis] = await Promise.allSettled([
      startMariadb({ varDir: resolve(varDir), durability }),
      startRedis(resolve(varDir)),
    ]);
    if (database.status === 'rejected') throw database.reason;
    if (redis.status === 'rejected') throw redis.reason;
    return { database: database.value, redis: redis.value };
  });

export const stopServices = (varDir: string): Promise<void> =>
  locked(varDir, 'stopping the database', async () => {
    const ends = await Promise.allSettled([stopMariadb(resolve(varDir)), stopRedis(resolve(varDir))]);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  });

export const servicesStatus = async (varDir: string): Promise<ServicesStatus> => ({
  mariadb: await mariadbStatus(resolve(varDir)),
  redis: await redisStatus(resolve(varDir)),
});

/** The settings to reach the services, whether they run or not. */
export const serviceConnections = async (varDir: string): Promise<ServiceConnections> => ({
  database: await mariadbConnection(resolve(varDir)),
  redis: await redisConnection(resolve(varDir)),
});

/** Stops them and removes their data and credentials, also what had to stand outside the var directory. */
export const wipeServices = async (varDir: string): Promise<void> => {
  await stopServices(varDir);
  const asRoot = process.getuid?.() === 0;
  const places = await servicePlaces(varDir, asRoot);
  const own = resolve(varDir);
  const paths = ['mariadb', 'redis'].flatMap((name) => [join(places.dataDirectory, name), join(places.runDirectory, name)]);
  paths.push(join(own, 'secrets', 'mariadb-password'), join(own, 'services.lock'));
  for (const directory of [places.dataDirectory, places.runDirectory])
    if (!directory.startsWith(`${own}/`) && directory !== own) paths.push(directory);
  for (const path of paths) await rm(path, { recursive: true, force: true });
};

export interface ScratchDatabase extends ServiceConnections {
  /** A numbered Redis database, emptied by nobody else. */
  readonly redis: RedisConnection & { readonly db: number };
  drop(): Promise<void>;
}

const ownVarDir = (): string => resolve(import.meta.dirname, '..', 'var');
/** The test server stands beside the real one, so a test never shares a server with the data of `up`. */
const testVarDir = (varDir: string): string => join(resolve(varDir), 'test');

/** Handed out in turn; number 0 is nobody's. After the last the first comes again, which is long free by then. */
const nextRedisDatabase = (directory: string, redis: RedisConnection): Promise<number> =>
  locked(directory, 'choosing a Redis database', async () => {
    const path = join(directory, 'redis-database.json');
    const db = 1 + (((await readJsonIfAny(path, z.int().nonnegative())) ?? 0) % (REDIS_DATABASE_COUNT - 1));
    await writeJsonWhole(path, db);
    await emptyRedisDatabase(redis.path, db);
    return db;
  });

/** A new, empty database with a random name, on the test server, which is started on first use and then stays for the next test. */
export const createScratchDatabase = async (varDir = ownVarDir()): Promise<ScratchDatabase> => {
  const { database: server, redis } = await startServices({ varDir: testVarDir(varDir), durability: 'fast' });
  const database = `${SCRATCH_PREFIX}${randomBytes(8).toString('hex')}`;
  const administer = async (statement: string): Promise<void> => {
    const session = await createConnection({ socketPath: server.socketPath, user: server.user, password: server.password });
    try {
      await session.query(statement);
    } catch (cause) {
      throw new CloudError('Unavailable', 'the scratch database could not be created or dropped', { cause });
    } finally {
      await session.end();
    }
  };
  await administer(`CREATE DATABASE \`${database}\` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci`);
  return {
    database: { ...server, database },
    redis: { ...redis, db: await nextRedisDatabase(testVarDir(varDir), redis) },
    drop: () => administer(`DROP DATABASE IF EXISTS \`${database}\``),
  };
};

export const withScratchDatabase = async <T>(work: (scratch: ScratchDatabase) => Promise<T>, varDir = ownVarDir()): Promise<T> => {
  const scratch = await createScratchDatabase(varDir);
  try {
    return await work(scratch);
  } finally {
    await scratch.drop();
  }
};

/** Stops and removes the server that tests started; `down` and the end of a test run call it. */
export const wipeTestServices = async (varDir = ownVarDir()): Promise<void> => {
  await wipeServices(testVarDir(varDir));
  await rm(testVarDir(varDir), { recursive: true, force: true });
};
