/** A whole cloud in one process: the management server on a real database and Redis, with simulated hosts and system VMs over real links. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type SimulatedHost, type SimulatedStorage, simulatedHost } from '../../agent/hypervisors/simulated/index.ts';
import { Client, type Keys } from '../../lab/client.ts';
import { createScratchDatabase, type ServiceConnections } from '../../lab/services.ts';
import type { Config } from '../../management/config.ts';
import type { Probe } from '../../management/core/saga.ts';
import { setSimulatedHosts } from '../../management/infra/index.ts';
import { type Management, startManagement } from '../../management/server.ts';
import type { CloudError } from '../../protocol/errors.ts';
import { type AgentLink, openAgentLink } from '../../protocol/link/agent-link.ts';
import { memoryIdentityStore } from '../../protocol/link/identity.ts';
import { createLog, type Log } from '../../protocol/log.ts';
import { guardConnections } from './one-connection.ts';
import { openRelay, type Relay } from './relay.ts';
import { type SimulatedSystemVm, startSimulatedSystemVm } from './simulated-system-vm.ts';

export interface CloudOptions {
  readonly log?: Log;
  readonly probe?: Probe;
  readonly beatMs?: number;
  readonly httpPort?: number;
  /** Services to use instead of a scratch database that goes with the cloud. */
  readonly services?: ServiceConnections;
  readonly varDirectory?: string;
  readonly failure?: (hostId: string, message: string, ask: unknown) => CloudError | null;
  readonly latencyMs?: (message: string) => number;
  readonly downloadMs?: number;
  readonly host?: { readonly cpuCount?: number; readonly memoryMib?: number };
}

export interface Cloud {
  readonly management: Management;
  readonly url: string;
  readonly admin: Client;
  readonly adminKeys: Keys;
  readonly hosts: ReadonlyMap<string, SimulatedHost>;
  readonly systemVms: ReadonlyMap<string, SimulatedSystemVm>;
  /** Files of the pools by cluster. */
  readonly storage: ReadonlyMap<string, SimulatedStorage>;
  /** Ends a simulated host's link: the cable is cut, it goes silent without a word, or the agent stops and says so. */
  readonly cutHost: (id: string, how?: 'cut' | 'mute' | 'goodbye') => Promise<void>;
  readonly isCut: (id: string) => boolean;
  /** Brings it back, with the identity it had. */
  readonly mendHost: (id: string) => void;
  /** The management server dies and another process of it starts on the same data. */
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
  const hosts = new Map<string, SimulatedHost>();
  const hostLinks = new Map<
    string,
    { link: AgentLink; readonly relay: Relay; readonly reopen: () => AgentLink; cut: 'cut' | 'mute' | 'goodbye' | null }
  >();
  const systemVms = new Map<string, SimulatedSystemVm>();
  const storageOf = new Map<string, SimulatedStorage>();
  let linkPort = 0;
  const server = () => `127.0.0.1:${linkPort}`;

  setSimulatedHosts({
    has: (id) => hosts.has(id),
    add: async ({ hostId, joinToken, caSha256, url, clusterId }) => {
      const relay = await openRelay(() => ({ host: '127.0.0.1', port: linkPort }));
      const storage = storageOf.get(clusterId) ?? new Map();
      storageOf.set(clusterId, storage);
      const { latencyMs, failure } = options;
      const host = simulatedHost({
        id: hostId,
        cpuCount: options.host?.cpuCount ?? 16,
        memoryMib: options.host?.memoryMib ?? 65_536,
        hostName: url.replace(/^http:\/\/sim\//, '').replaceAll('/', '-'),
        bridges: ['cloudbr0', 'cloudbr1', 'cloudbr2'],
        storage,
        ...(latencyMs ? { latencyMilliseconds: latencyMs } : {}),
        ...(failure ? { failure: (message: string, ask: unknown) => failure(hostId, message, ask) } : {}),
        onPower: (spec, power) => {
          if (spec.kind === 'guest') return;
          const running = systemVms.get(spec.id);
          systemVms.delete(spec.id);
          if (running) void running.link.close();
          if (power !== 'On') return;
          // A router knows the control network only and dials its host's relay.
          const dialled = spec.kind === 'router' ? `127.0.0.1:${relay.port}` : server();
          systemVms.set(spec.id, startSimulatedSystemVm(spec, dialled, { downloadMs: options.downloadMs ?? 0 }));
        },
      });
      const store = memoryIdentityStore();
      const open = () => {
        const link = openAgentLink({
          kind: 'host',
          id: hostId,
          servers: [`127.0.0.1:${relay.port}`],
          join: { token: joinToken.reveal(), caSha256 },
          store,
          version: 'simulated',
          handlers: host.handlers,
          beat: () => host.beat(),
          onUp: () => host.linkUp(),
          log: createLog('host', { level: 'silent' }),
        });
        host.watch(() => {
          link.ring('machine');
          link.beatNow();
        });
        return link;
      };
      hosts.set(hostId, host);
      hostLinks.set(hostId, { link: open(), relay, reopen: open, cut: null });
    },
    remove: async (hostId) => {
      const ends = hostLinks.get(hostId);
      await ends?.link.close();
      await ends?.relay.close();
      hostLinks.delete(hostId);
      hosts.delete(hostId);
    },
  });

  const config = (): Config => ({
    varDirectory,
    http: { address: '127.0.0.1', port: options.httpPort ?? 0 },
    link: { addresses: ['127.0.0.1'], port: linkPort },
    advertise: [server()],
    database: { ...services.database, poolSize: 20 },
    redis: services.redis,
    workers: 200,
    systemTemplate: null,
    agentDirectory: null,
    simulator: true,
  });
  const start = async () => {
    const probe = options.probe ? { probe: options.probe } : {};
    const started = await startManagement({ config: config(), log, ...probe, beatMs: options.beatMs ?? 1000 });
    guardConnections(started.services.db);
    return started;
  };
  // The port is chosen once, so that a restarted server is where its agents look for it.
  linkPort = await freePort();
  let management = await start();
  let url = `http://127.0.0.1:${management.httpPort}/client/api`;
  const adminKeys = await firstKeys(url, (await readFile(join(varDirectory, 'admin-password'), 'utf8')).trim());

  const cloud = {
    get management() {
      return management;
    },
    get url() {
      return url;
    },
    get admin() {
      return new Client(url, adminKeys);
    },
    adminKeys,
    hosts,
    systemVms,
    client: (keys: Keys) => new Client(url, keys),
    storage: storageOf,
    cutHost: async (id: string, how: 'cut' | 'mute' | 'goodbye' = 'cut') => {
      const ends = hostLinks.get(id);
      if (!ends) throw new TypeError('there is no such host');
      ends.cut = how;
      if (how === 'goodbye') await ends.link.close();
      else ends.relay[how]();
    },
    isCut: (id: string) => Boolean(hostLinks.get(id)?.cut),
    mendHost: (id: string) => {
      const ends = hostLinks.get(id);
      if (!ends) throw new TypeError('there is no such host');
      if (ends.cut === 'goodbye') ends.link = ends.reopen();
      else ends.relay.mend();
      ends.cut = null;
    },
    restart: async () => {
      await management.close();
      management = await start();
      url = `http://127.0.0.1:${management.httpPort}/client/api`;
    },
    close: async () => {
      for (const { link } of systemVms.values()) await link.close();
      for (const { link, relay } of hostLinks.values()) {
        relay.mend();
        await link.close();
        await relay.close();
      }
      await management.close();
      setSimulatedHosts(null);
      await scratch?.drop();
      if (!options.varDirectory) await rm(varDirectory, { recursive: true, force: true });
    },
  };
  return cloud;
}

async function freePort(): Promise<number> {
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
export async function firstKeys(url: string, password: string): Promise<Keys> {
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
