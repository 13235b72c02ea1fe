/** A whole cloud in one process: the management server on a real database and Redis, with simulated hosts and system VMs over real links. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type Keys } from '../../lab/client.ts';
import { createScratchDatabase, type ServiceConnections } from '../../lab/services.ts';
import type { Config } from '../../management/config.ts';
import type { Database } from '../../management/core/db.ts';
import type { Probe } from '../../management/core/saga.ts';
import { setSimulatedHosts } from '../../management/infra/index.ts';
import { type Management, startManagement } from '../../management/server.ts';
import { createLog, type Log } from '../../protocol/log.ts';
import { guardConnections } from './one-connection.ts';
import { openSimulation, type Simulated, type SimulationOptions } from './simulation.ts';

export interface CloudOptions extends SimulationOptions {
  readonly log?: Log;
  readonly probe?: Probe;
  readonly beatMs?: number;
  readonly httpPort?: number;
  /** Services to use instead of a scratch database that goes with the cloud. */
  readonly services?: ServiceConnections;
  readonly varDirectory?: string;
}

/** What can be looked at, wherever management runs. */
export interface Observed extends Simulated {
  readonly db: Pick<Database, 'rows'>;
}
export interface Cloud extends Observed {
  readonly management: Management;
  readonly url: string;
  readonly admin: Client;
  readonly adminKeys: Keys;
  /** The management server ends and another of it starts on the same data. */
  readonly restart: () => Promise<void>;
  readonly client: (keys: Keys) => Client;
  readonly close: () => Promise<void>;
}

export async function startCloud(options: CloudOptions = {}): Promise<Cloud> {
  const scratch = options.services ? null : await createScratchDatabase();
  const services = options.services ?? scratch;
  if (!services) throw new TypeError('there are no services');
  const varDirectory = options.varDirectory ?? (await mkdtemp(join(tmpdir(), 'nephos-cloud-')));
  const log = options.log ?? createLog('cloud', { level: process.env['NEPHOS_LOG_LEVEL'] ?? 'silent' });
  // The port is chosen once, so that a restarted server is where its agents look for it.
  const linkPort = await freePort();
  const { simulator, close: closeSimulation, ...simulated } = openSimulation(() => linkPort, options);
  setSimulatedHosts(simulator);
  const config = simulatedConfig(services, { varDirectory, linkPort, httpPort: options.httpPort ?? 0 });
  const start = async () => {
    const probe = options.probe ? { probe: options.probe } : {};
    const started = await startManagement({ config, log, ...probe, beatMs: options.beatMs ?? 1000 });
    guardConnections(started.services.db);
    return started;
  };
  let management = await start();
  const url = () => `http://127.0.0.1:${management.httpPort}/client/api`;
  const adminKeys = await firstKeys(url(), varDirectory);
  return {
    ...simulated,
    get management() {
      return management;
    },
    get db() {
      return management.services.db;
    },
    get url() {
      return url();
    },
    get admin() {
      return new Client(url(), adminKeys);
    },
    adminKeys,
    client: (keys) => new Client(url(), keys),
    restart: async () => {
      await management.close();
      management = await start();
    },
    close: async () => {
      await closeSimulation();
      await management.close();
      setSimulatedHosts(null);
      await scratch?.drop();
      if (!options.varDirectory) await rm(varDirectory, { recursive: true, force: true });
    },
  };
}

export const simulatedConfig = (
  { database, redis }: Pick<Config, 'redis'> & { readonly database: Omit<Config['database'], 'poolSize'> },
  { varDirectory, linkPort, httpPort }: { varDirectory: string; linkPort: number; httpPort: number },
): Config => ({
  varDirectory,
  http: { address: '127.0.0.1', port: httpPort },
  link: { addresses: ['127.0.0.1'], port: linkPort },
  advertise: [`127.0.0.1:${linkPort}`],
  database: { ...database, poolSize: 20 },
  redis,
  workers: 200,
  systemTemplate: null,
  agentDirectory: null,
  simulator: true,
});

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

/** The administrator logs in with the password of the first start and makes keys. */
export async function firstKeys(url: string, varDirectory: string): Promise<Keys> {
  const password = (await readFile(join(varDirectory, 'admin-password'), 'utf8')).trim();
  const login = await fetch(url, {
    method: 'POST',
    body: new URLSearchParams({ command: 'login', username: 'admin', password, response: 'json' }),
  });
  const { loginresponse } = await login.json();
  if (!login.ok) throw new Error(`the administrator cannot log in: ${JSON.stringify(loginresponse)}`);
  const cookie = login.headers
    .getSetCookie()
    .map((each) => each.split(';')[0])
    .join('; ');
  const query = new URLSearchParams({
    command: 'registerUserKeys',
    id: loginresponse.userid,
    response: 'json',
    sessionkey: loginresponse.sessionkey,
  });
  const keys = await (await fetch(url, { method: 'POST', headers: { cookie }, body: query })).json();
  const { apikey, secretkey } = keys.registeruserkeysresponse.userkeys;
  return { apiKey: apikey, secretKey: secretkey };
}
