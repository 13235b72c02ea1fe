/**
 * How long a new agent takes to join and be Up while others hold 1,000 half-open connections to the link port: silent ones, ones that
 * stop inside their first message, and ones that say a whole ClientHello and then nothing.
 * `node --import tsx bench/half-open.ts [sockets] [agents]`.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { openAgentLink } from '../protocol/link/agent-link.ts';
import { memoryIdentityStore } from '../protocol/link/identity.ts';
import { createLog } from '../protocol/log.ts';
import { machine, percentile, startLinkServer } from './link-process.ts';

const socketCount = Number(process.argv[2] ?? 1000);
const agentCount = Number(process.argv[3] ?? 100);
const log = createLog('bench', { level: 'silent' });
const directory = await mkdtemp(join(tmpdir(), 'nephos-bench-'));
const server = await startLinkServer(directory);
const { port, caSha256 } = server;

/** The first flight of a real TLS client, caught by a listener that does not answer. */
const clientHello = await new Promise<Buffer>((resolve) => {
  const trap = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (data) => {
      socket.destroy();
      trap.close();
      resolve(data);
    });
  });
  trap.listen(0, '127.0.0.1', () => {
    const address = trap.address();
    if (address === null || typeof address === 'string') return;
    connectTls({ host: '127.0.0.1', port: address.port, rejectUnauthorized: false }).on('error', () => {});
  });
});

const hold = async (first: Buffer | null): Promise<() => void> => {
  const sockets = new Set<Socket>();
  let closed = false;
  const one = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.9' }, () => {
        if (first !== null) socket.write(first);
        resolve();
      });
      sockets.add(socket);
      socket.on('error', () => resolve());
      // One that was cut is opened again: the number stays what it is.
      socket.on('close', () => {
        sockets.delete(socket);
        if (!closed) setTimeout(() => void one(), 100);
      });
    });
  await Promise.all(Array.from({ length: socketCount }, one));
  return () => {
    closed = true;
    for (const socket of sockets) socket.destroy();
  };
};

const newAgentMs = async (): Promise<number> => {
  const id = randomUUID();
  const [token = ''] = await server.tokens([id]);
  const since = performance.now();
  return await new Promise((resolve) => {
    const link = openAgentLink({
      kind: 'host',
      id,
      servers: [`127.0.0.1:${port}`],
      join: { token, caSha256 },
      store: memoryIdentityStore(),
      version: 'bench',
      handlers: [],
      beat: async () => ({}),
      log,
      onUp: () => {
        resolve(performance.now() - since);
        void link.close();
      },
    });
  });
};

const rows: Record<string, unknown> = {};
let worst = 0;
for (const [name, first] of [
  ['none', null],
  ['silent', null],
  ['partial ClientHello', clientHello.subarray(0, 40)],
  ['whole ClientHello, then silence', clientHello],
] as const) {
  const release = name === 'none' ? () => {} : await hold(first);
  // The first samples fall into the moment the sockets arrive.
  const samples: number[] = [];
  for (let index = 0; index < agentCount; index++) {
    samples.push(await newAgentMs());
    await wait(20);
  }
  const { waiting, refused } = await server.figures();
  const p99 = percentile(samples, 0.99);
  worst = Math.max(worst, p99);
  rows[name] = { p50: percentile(samples, 0.5), p99, max: Math.max(...samples), waiting, refused, samples: samples.map(Math.round) };
  release();
  await wait(500);
}
console.log(JSON.stringify({ machine: machine(), sockets: socketCount, agents: agentCount, unit: 'ms', targetP99: 1000, rows }, null, 2));
await server.kill();
await rm(directory, { recursive: true, force: true });
process.exitCode = worst < 1000 ? 0 : 1;
