import { createConnection } from 'node:net';
import { join } from 'node:path';
import { CloudError } from '../protocol/errors.ts';
import { serviceUid } from './mariadb.ts';
import { processStatus, startProcess, stopProcess } from './processes.ts';
import { ensureServiceFolder, servicePlaces } from './service-places.ts';

export interface RedisConnection {
  readonly path: string;
}

/** See MARIADB_UID. */
const REDIS_UID = 60_979;
/** Each test file takes a numbered database of its own. */
export const REDIS_DATABASE_COUNT = 1024;

const layoutOf = async (varDir: string) => {
  const uid = serviceUid(REDIS_UID);
  const places = await servicePlaces(varDir, uid !== null);
  return {
    ...places,
    uid,
    home: join(places.dataDirectory, 'redis'),
    path: join(places.runDirectory, 'redis', 'redis.sock'),
    pidFile: join(varDir, 'run', 'redis.pid.json'),
    logFile: join(varDir, 'log', 'redis.log'),
  };
};

/** Inline commands, one answer line each; null when the server does not answer. */
const ask = (path: string, commands: readonly string[]): Promise<string[] | null> =>
  new Promise((resolve) => {
    const socket = createConnection({ path });
    let received = '';
    const end = (answer: string[] | null): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setEncoding('latin1');
    socket.setTimeout(2000, () => end(null));
    socket.once('error', () => end(null));
    socket.once('close', () => resolve(null));
    socket.once('connect', () => socket.write(commands.map((line) => `${line}\r\n`).join('')));
    socket.on('data', (chunk) => {
      received += chunk;
      const lines = received.split('\r\n').slice(0, -1);
      if (lines.length === commands.length) end(lines);
    });
  });

const ping = async (path: string): Promise<boolean> => (await ask(path, ['PING']))?.[0] === '+PONG';

/** Empties one numbered database. */
export const emptyRedisDatabase = async (path: string, db: number): Promise<void> => {
  const answers = await ask(path, [`SELECT ${db}`, 'FLUSHDB']);
  if (answers?.every((line) => line === '+OK') !== true)
    throw new CloudError('Unavailable', `Redis database ${db} could not be emptied`, { path });
};

export const redisConnection = async (varDir: string): Promise<RedisConnection> => ({ path: (await layoutOf(varDir)).path });

/** Keeps nothing on disk: Redis only rings, and losing all of it loses no job. */
export const startRedis = async (varDir: string): Promise<RedisConnection> => {
  const layout = await layoutOf(varDir);
  await ensureServiceFolder(layout.dataDirectory, null, 0o755);
  await ensureServiceFolder(layout.runDirectory, null, 0o755);
  await ensureServiceFolder(layout.home, layout.uid, 0o700);
  // There is no password, so only root and the service itself may come near the socket.
  await ensureServiceFolder(join(layout.runDirectory, 'redis'), layout.uid, 0o700);
  await startProcess({
    name: 'Redis',
    pidFile: layout.pidFile,
    logFile: layout.logFile,
    file: '/usr/bin/redis-server',
    args: [
      ...['--port', '0'],
      ...['--unixsocket', layout.path],
      ...['--unixsocketperm', '700'],
      ...['--dir', layout.home],
      ...['--save', ''],
      ...['--appendonly', 'no'],
      ...['--databases', String(REDIS_DATABASE_COUNT)],
      ...['--maxmemory-policy', 'noeviction'],
      ...['--daemonize', 'no'],
    ],
    ...(layout.uid === null ? {} : { uid: layout.uid, gid: layout.uid }),
    ready: () => ping(layout.path),
    readyTimeoutSeconds: 20,
  });
  return { path: layout.path };
};

export const redisStatus = async (varDir: string): Promise<'running' | 'stopped'> => processStatus((await layoutOf(varDir)).pidFile);

export const stopRedis = async (varDir: string): Promise<boolean> =>
  stopProcess({ name: 'Redis', pidFile: (await layoutOf(varDir)).pidFile, graceSeconds: 10 });
