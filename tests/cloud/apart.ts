/** A simulated cloud whose management server is a process of its own that can be killed, and whose database can be cut off. */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { Client } from '../../lab/client.ts';
import { emptyRedisDatabase } from '../../lab/redis.ts';
import { createScratchDatabase } from '../../lab/services.ts';
import type { HostJoin } from '../../management/infra/index.ts';
import { Secret } from '../../protocol/schema.ts';
import { firstKeys, freePort, type Observed, simulatedConfig } from './cloud.ts';
import { openRelay, type Relay } from './relay.ts';
import { openSimulation, type SimulationOptions } from './simulation.ts';

export interface CloudApart extends Observed {
  readonly admin: Client;
  readonly url: string;
  /** As with kill -9. */
  readonly kill: () => Promise<void>;
  readonly start: () => Promise<void>;
  /** The cable to the database; the test's own look at it goes another way. */
  readonly database: Relay;
  readonly flushRedis: () => Promise<void>;
  readonly close: () => Promise<void>;
}

type Told =
  | { readonly httpPort: number }
  | { readonly add: Omit<HostJoin, 'joinToken'> & { joinToken: string; url: string; address: string; clusterId: never } }
  | { readonly remove: HostJoin['hostId'] };

const READY_MS = 30_000;

export async function startCloudApart(options: SimulationOptions & { beatMs?: number } = {}): Promise<CloudApart> {
  const scratch = await createScratchDatabase();
  const { socketPath, ...login } = scratch.database;
  const database = await openRelay(() => ({ path: socketPath }));
  const varDirectory = await mkdtemp(join(tmpdir(), 'nephos-apart-'));
  const [linkPort, httpPort] = [await freePort(), await freePort()];
  const { simulator, close: closeSimulation, ...simulated } = openSimulation(() => linkPort, options);
  const services = { database: { ...login, host: '127.0.0.1', port: database.port }, redis: scratch.redis };
  const path = join(varDirectory, 'management.json');
  await writeFile(path, JSON.stringify(simulatedConfig(services, { varDirectory, linkPort, httpPort })), { mode: 0o600 });
  const own = await createConnection({ socketPath, ...login, supportBigNumbers: true });
  let child: ChildProcess | null = null;

  const start = async () => {
    const started = fork(
      join(import.meta.dirname, 'management-process.ts'),
      [path, String(options.beatMs ?? 1000), ...simulated.hosts.keys()],
      {
        execArgv: ['--import', 'tsx'],
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    );
    child = started;
    await new Promise<void>((ready, fail) => {
      const timer = setTimeout(() => fail(new Error('management was not ready in time')), READY_MS);
      started.once('exit', (code) => fail(new Error(`management ended with ${code}`)));
      started.on('message', (told: Told) => {
        if ('add' in told) void simulator.add({ ...told.add, joinToken: new Secret(told.add.joinToken) });
        else if ('remove' in told) void simulator.remove(told.remove);
        else {
          clearTimeout(timer);
          started.removeAllListeners('exit');
          ready();
        }
      });
    });
  };
  const kill = async () => {
    const running = child;
    child = null;
    if (!running || running.exitCode !== null) return;
    const ended = new Promise((done) => running.once('exit', done));
    running.kill('SIGKILL');
    await ended;
  };
  const url = `http://127.0.0.1:${httpPort}/client/api`;
  const close = async () => {
    await kill();
    await closeSimulation();
    await own.end();
    await database.close();
    await scratch.drop();
    await rm(varDirectory, { recursive: true, force: true });
  };
  const keys = await start()
    .then(() => firstKeys(url, varDirectory))
    .catch(async (error: unknown) => {
      await close();
      throw error;
    });
  return {
    ...simulated,
    db: { rows: async (sql, parameters = []) => (await own.query(sql, [...parameters]))[0] as never },
    url,
    admin: new Client(url, keys),
    kill,
    start,
    database,
    flushRedis: () => emptyRedisDatabase(scratch.redis.path, scratch.redis.db),
    close,
  };
}
