/**
 * 1,000 agents on one management server: what they cost when idle, and how long all of them take to be back after the server was killed
 * and started again. `node --import tsx bench/agents.ts [agents] [idle seconds]`. The agents run in this process, the server in another.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { openAgentLink } from '../protocol/link/agent-link.ts';
import { memoryIdentityStore } from '../protocol/link/identity.ts';
import { createLog } from '../protocol/log.ts';
import { type LinkServerProcess, machine, startLinkServer } from './link-process.ts';

const count = Number(process.argv[2] ?? 1000);
const idleSeconds = Number(process.argv[3] ?? 30);
const log = createLog('bench', { level: 'silent' });
const directory = await mkdtemp(join(tmpdir(), 'nephos-bench-'));

const allUp = async (server: LinkServerProcess, since: number): Promise<number> => {
  for (;;) {
    const { up } = await server.figures();
    const seconds = (performance.now() - since) / 1000;
    if (up === count) return seconds;
    if (seconds > 120) throw new RangeError(`only ${up} of ${count} agents are up after ${seconds.toFixed(0)} s`);
    await wait(50);
  }
};

let server = await startLinkServer(directory);
const ids = Array.from({ length: count }, () => randomUUID());
const tokens = await server.tokens(ids);
const { port, caSha256 } = server;
const started = performance.now();
const links = ids.map((id, index) =>
  openAgentLink({
    kind: 'host',
    id,
    servers: [`127.0.0.1:${port}`],
    join: { token: tokens[index] ?? '', caSha256 },
    store: memoryIdentityStore(),
    version: 'bench',
    handlers: [],
    beat: async () => ({ host: { whole: false, machines: [] } }),
    log,
  }),
);
const joinSeconds = await allUp(server, started);
const joined = await server.figures();

await wait(7000);
const before = await server.figures();
const idleSince = performance.now();
await wait(idleSeconds * 1000);
const after = await server.figures();
const idleCores = (after.cpuSeconds - before.cpuSeconds) / ((performance.now() - idleSince) / 1000);

await server.kill();
await wait(6000);
server = await startLinkServer(directory, port);
const atStart = await server.figures();
const agentsCpu = process.cpuUsage();
// The clock starts when the server listens; the record of the agents' ids takes the place of the database's.
const restarted = performance.now();
await server.tokens(ids);
const backSeconds = await allUp(server, restarted);
const back = await server.figures();
const { user, system } = process.cpuUsage(agentsCpu);

const report = {
  machine: machine(),
  agents: count,
  joinSeconds,
  joinCpuSeconds: joined.cpuSeconds,
  idle: { seconds: idleSeconds, beats: after.beats - before.beats, cores: idleCores, target: 0.2 },
  // CPU time tells what it would take on a machine with nothing else to do; server and agents share this one's cores.
  restart: {
    backSeconds,
    target: 10,
    serverCpuSeconds: back.cpuSeconds - atStart.cpuSeconds,
    agentsCpuSeconds: (user + system) / 1e6,
    refused: back.refused,
  },
  residentMib: after.residentMib,
};
console.log(JSON.stringify(report, null, 2));
await Promise.all(links.map((link) => link.close()));
await server.kill();
await rm(directory, { recursive: true, force: true });
process.exitCode = idleCores <= 0.2 && backSeconds <= 10 ? 0 : 1;
