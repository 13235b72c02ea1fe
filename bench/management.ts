/**
 * 1,000 simulated hosts on a whole management server, database included: what they cost when idle, and how long all of them take to be Up
 * again after the server was killed and started anew. `node --import tsx bench/management.ts [hosts] [idle seconds]`. The hosts run in
 * this process, the server in another.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { simulatedHost } from '../agent/hypervisors/simulated/index.ts';
import { Client } from '../lab/client.ts';
import { varDirectory } from '../lab/installation.ts';
import { createScratchDatabase } from '../lab/services.ts';
import type { Config } from '../management/config.ts';
import { CloudError } from '../protocol/errors.ts';
import { type AgentLink, openAgentLink } from '../protocol/link/agent-link.ts';
import { memoryIdentityStore } from '../protocol/link/identity.ts';
import { createLog } from '../protocol/log.ts';
import { firstKeys } from '../tests/cloud/cloud.ts';
import { machine } from './link-process.ts';
import type { FromManagement, ManagementFigures, NewSimulatedHost, ToManagement } from './management-process.ts';

const count = Number(process.argv[2] ?? 1000);
const idleSeconds = Number(process.argv[3] ?? 30);
const HALF_OPEN = 1000;
const log = createLog('bench', { level: 'silent' });
const directory = await mkdtemp(join(tmpdir(), 'nephos-bench-'));
const scratch = await createScratchDatabase(varDirectory);
const links: AgentLink[] = [];

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
const linkPort = await freePort();
const config: Config = {
  varDirectory: directory,
  http: { address: '127.0.0.1', port: 0 },
  link: { addresses: ['127.0.0.1'], port: linkPort },
  advertise: [`127.0.0.1:${linkPort}`],
  database: { ...scratch.database, poolSize: 20 },
  redis: scratch.redis,
  workers: 200,
  systemTemplate: null,
  agentDirectory: null,
  simulator: true,
};

const addHost = ({ hostId, token, caSha256, url }: NewSimulatedHost): void => {
  const host = simulatedHost({
    id: hostId,
    cpuCount: 16,
    memoryMib: 65_536,
    hostName: url.replace(/^http:\/\/sim\//, '').replaceAll('/', '-'),
    bridges: ['cloudbr0', 'cloudbr1', 'cloudbr2'],
    storage: new Map(),
  });
  links.push(
    openAgentLink({
      kind: 'host',
      id: hostId,
      servers: [`127.0.0.1:${linkPort}`],
      join: { token, caSha256 },
      store: memoryIdentityStore(),
      version: 'bench',
      handlers: host.handlers,
      beat: () => host.beat(),
      onUp: () => host.linkUp(),
      log,
    }),
  );
};

interface Server {
  readonly httpPort: number;
  readonly figures: () => Promise<ManagementFigures>;
  readonly kill: () => Promise<void>;
}
const startServer = async (): Promise<Server> => {
  const child: ChildProcess = fork(new URL('./management-process.ts', import.meta.url).pathname, [], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const tell = (message: ToManagement): void => void child.send(message);
  const waiting: ((figures: ManagementFigures) => void)[] = [];
  const httpPort = await new Promise<number>((resolve, reject) => {
    child.once('exit', () => reject(new CloudError('Unavailable', 'the management server ended')));
    child.on('message', (message: FromManagement) => {
      if (message.is === 'ready') resolve(message.httpPort);
      else if (message.is === 'host') addHost(message.host);
      else waiting.shift()?.(message.figures);
    });
    tell({ start: config, beatMs: 5000 });
  });
  return {
    httpPort,
    figures: () =>
      new Promise((resolve) => {
        waiting.push(resolve);
        tell({ ask: 'figures' });
      }),
    kill: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.kill('SIGKILL');
      }),
  };
};

const allUp = async (server: Server, since: number, limitSeconds: number): Promise<{ seconds: number; curve: [number, number][] }> => {
  const curve: [number, number][] = [];
  for (;;) {
    const { up } = await server.figures();
    const seconds = (performance.now() - since) / 1000;
    curve.push([Number(seconds.toFixed(1)), up]);
    if (up === count) return { seconds, curve: curve.filter((_, index) => index % 10 === 0) };
    if (seconds > limitSeconds) throw new CloudError('Timeout', `only ${up} of ${count} hosts are up after ${seconds.toFixed(0)} s`);
    await wait(100);
  }
};

let server = await startServer();
const url = `http://127.0.0.1:${server.httpPort}/client/api`;
const client = new Client(url, await firstKeys(url, directory));
const { zone } = await client.call('createZone', {
  name: 'bench',
  networktype: 'Advanced',
  dns1: '192.0.2.53',
  internaldns1: '192.0.2.53',
  allocationstate: 'Disabled',
});
const { pod } = await client.call('createPod', {
  zoneid: zone.id,
  name: 'bench',
  gateway: '10.16.0.1',
  netmask: '255.255.0.0',
  startip: '10.16.0.2',
  endip: '10.16.0.20',
});
const [cluster] = (
  await client.call('addCluster', {
    zoneid: zone.id,
    podid: pod.id,
    clustername: 'bench',
    clustertype: 'CloudManaged',
    hypervisor: 'Simulator',
  })
).cluster;
const addingSince = performance.now();
const numbers = Array.from({ length: count }, (_, index) => index);
const add = async (): Promise<void> => {
  for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
    await client.call('addHost', {
      zoneid: zone.id,
      podid: pod.id,
      clusterid: cluster.id,
      hypervisor: 'Simulator',
      url: `http://sim/bench/h${number}`,
      username: 'root',
      password: 'password',
    });
  }
};
await Promise.all(Array.from({ length: 32 }, add));
const added = await allUp(server, addingSince, 600);

await wait(12_000);
const before = await server.figures();
const idleSince = performance.now();
await wait(idleSeconds * 1000);
const after = await server.figures();
const idleCores = (after.cpuSeconds - before.cpuSeconds) / ((performance.now() - idleSince) / 1000);

await server.kill();
await wait(5000);
const startingSince = performance.now();
server = await startServer();
const listeningSince = performance.now();
const atStart = await server.figures();
const hostsCpu = process.cpuUsage();
const back = await allUp(server, listeningSince, 120);
const again = await server.figures();
const { user, system } = process.cpuUsage(hostsCpu);

/** Connections that never say a word hold places at the door; a new host must not notice. */
const sockets: Socket[] = await Promise.all(
  Array.from(
    { length: HALF_OPEN },
    () =>
      new Promise<Socket>((resolve) => {
        const socket = connect({ port: linkPort, host: '127.0.0.1', localAddress: '127.0.0.9' }, () => resolve(socket));
        socket.on('error', () => resolve(socket));
      }),
  ),
);
const steady = (await server.figures()).up;
for (const socket of sockets) socket.destroy();

console.log(
  JSON.stringify(
    {
      machine: machine(),
      hosts: count,
      adding: { seconds: added.seconds },
      idle: { seconds: idleSeconds, beats: after.beats - before.beats, cores: Number(idleCores.toFixed(3)), target: 0.2 },
      restart: {
        startSeconds: (listeningSince - startingSince) / 1000,
        backSeconds: back.seconds,
        target: 10,
        // CPU time tells what it would take on a machine with nothing else to do; server, database and hosts share this one's cores.
        serverCpuSeconds: again.cpuSeconds - atStart.cpuSeconds,
        hostsCpuSeconds: (user + system) / 1e6,
        refused: again.refused,
        curve: back.curve,
      },
      halfOpen: { sockets: HALF_OPEN, stillUp: steady },
      residentMib: { idle: after.residentMib, afterRestart: again.residentMib },
    },
    null,
    1,
  ),
);
await Promise.all(links.map((link) => link.close()));
await server.kill();
await scratch.drop();
await rm(directory, { recursive: true, force: true });
process.exit(idleCores <= 0.2 && back.seconds <= 10 && steady === count ? 0 : 1);
