/** Class 1, ports that are open for anybody: what a running management server listens on is this list and nothing else. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { FromManagement, ToManagement } from '../../bench/management-process.ts';
import { createScratchDatabase } from '../../lab/services.ts';

const LISTENING = '0A';
/** Ends of sockets that a process holds open for others: TCP that listens, and UDP of any kind, as `tcp 0100007F:2382`. */
async function openPorts(pid: number): Promise<string[]> {
  const handles = await readdir(`/proc/${pid}/fd`);
  const targets = await Promise.all(handles.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
  const inodes = new Set(targets.flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []));
  const found: string[] = [];
  for (const protocol of ['tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6']) {
    const lines = (await readFile(`/proc/${pid}/net/${protocol}`, 'utf8').catch(() => '')).trim().split('\n').slice(1);
    for (const line of lines) {
      const words = line.trim().split(/\s+/);
      const [, local = '', , state] = words;
      if (inodes.has(words[9] ?? '') && (!protocol.startsWith('tcp') || state === LISTENING)) found.push(`${protocol} ${local}`);
    }
  }
  return found.sort();
}
const asText = (port: number): string => `tcp 0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;

test('SV-19 class 1: a management server listens on the port of its API and on that of its agents, and nowhere else', {
  timeout: 90_000,
}, async (t) => {
  const services = await createScratchDatabase();
  t.after(() => services.drop());
  const varDirectory = await mkdtemp(join(tmpdir(), 'nephos-threats-'));
  t.after(() => rm(varDirectory, { recursive: true, force: true }));
  const child = fork(new URL('../../bench/management-process.ts', import.meta.url).pathname, [], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  t.after(() => void child.kill('SIGKILL'));
  const start: ToManagement = {
    start: {
      varDirectory,
      http: { address: '127.0.0.1', port: 0 },
      link: { addresses: ['127.0.0.1'], port: 0 },
      advertise: ['127.0.0.1:8250'],
      database: { ...services.database, poolSize: 5 },
      redis: services.redis,
      workers: 10,
      systemTemplate: null,
      agentDirectory: null,
      simulator: true,
    },
    beatMs: 5000,
  };
  child.send(start);
  const [ready]: FromManagement[] = await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => assert.fail('the server ended')),
  ]);
  assert.ok(ready?.is === 'ready' && child.pid !== undefined);
  const allowed = [asText(ready.httpPort), asText(ready.linkPort)].sort();
  assert.deepEqual(await openPorts(child.pid), allowed);
  // Work done does not open any either.
  assert.ok((await fetch(`http://127.0.0.1:${ready.httpPort}/client/api?command=listCapabilities&response=json`)).status < 500);
  assert.deepEqual(await openPorts(child.pid), allowed);
});

test('the search for open ports finds one', async (t) => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket));
  const before = await openPorts(process.pid);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const opened = (await openPorts(process.pid)).filter((port) => !before.includes(port));
  assert.deepEqual(opened, [asText(address.port)]);
});
