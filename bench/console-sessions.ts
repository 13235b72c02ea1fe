/**
 * How many consoles one processor core carries at typing load, what the proxy adds to the time from key to picture, and what is left
 * after many sessions came and went. The pictures are recorded from a real QEMU first.
 * `node --import tsx bench/console-sessions.ts [sessions…]`.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { openConsoleProxy } from '../console-proxy/proxy.ts';
import { startRfbServer } from '../console-proxy/rfb-server.testing.ts';
import { tokenSha256 } from '../console-proxy/session.ts';
import { connectVnc } from '../console-proxy/vnc.ts';
import { newId } from '../protocol/ids.ts';
import { createLog } from '../protocol/log.ts';
import { ApplyConsoleProxy, OpenConsole } from '../protocol/messages/console.ts';
import { machine, percentile } from './link-process.ts';

const PASSWORD = 'passw0rd';
const KEYS_PER_SECOND = 5;
const SECONDS = 8;

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });

/** The proxy by itself in a process, so that its processor time is its own. */
async function beProxy(): Promise<void> {
  const proxy = openConsoleProxy({
    log: createLog('bench', { level: 'silent' }),
    ring: () => undefined,
    managementAddresses: [],
    ports: { http: 0, https: 0 },
  });
  const ask = async (name: string, body: unknown): Promise<void> => {
    await proxy.handlers
      .find((handler) => handler.name === name)
      ?.handle(body, { requestId: 'bench', signal: new AbortController().signal });
  };
  await ask(ApplyConsoleProxy.name, { generation: 1, sessionsMax: 10_000, idleTimeoutSeconds: 3600, certificate: null });
  process.on('message', async (message: { number: number; open?: unknown }) => {
    if (message.open !== undefined) await ask(OpenConsole.name, message.open);
    const { user, system } = process.cpuUsage();
    const { consoleProxy } = await proxy.beat();
    const handles = process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
    const residentMib = process.memoryUsage().rss / 1048576;
    process.send?.({
      number: message.number,
      cpuSeconds: (user + system) / 1e6,
      sessions: consoleProxy?.sessions,
      sockets: handles,
      residentMib,
    });
  });
  process.send?.({ port: (await proxy.bound).http });
}

interface Figures {
  readonly cpuSeconds: number;
  readonly sessions: number;
  readonly sockets: number;
  readonly residentMib: number;
}

/** What QEMU sends for each key typed on its text screen. */
async function record(): Promise<readonly Buffer[]> {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-bench-'));
  const port = await freePort();
  await writeFile(join(folder, 'password'), PASSWORD);
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...['-nodefaults', '-machine', 'pc,accel=tcg', '-m', '32', '-vga', 'std', '-display', 'none'],
      ...['-object', `secret,id=vnc,file=${join(folder, 'password')}`, '-vnc', `127.0.0.1:${port - 5900},password-secret=vnc`],
      ...['-netdev', 'user,id=n,restrict=on', '-device', 'virtio-net-pci,netdev=n', '-boot', 'n'],
    ],
    { stdio: 'ignore' },
  );
  try {
    const never = new AbortController().signal;
    let screen: Socket | null = null;
    for (let tries = 0; screen === null && tries < 50; tries += 1) {
      await wait(100);
      screen = await connectVnc({ host: '127.0.0.1', port, password: PASSWORD }, never).catch(() => null);
    }
    if (screen === null) throw new TypeError('QEMU did not open its console');
    const request = Buffer.from([3, 1, 0, 0, 0, 0, 4, 0, 3, 0]);
    const key = (keysym: number, down: 0 | 1): Buffer => Buffer.from([4, down, 0, 0, 0, 0, keysym >> 8, keysym & 0xff]);
    const press = (keysym: number): void => void screen?.write(Buffer.concat([key(keysym, 1), key(keysym, 0)]));
    let pieces: Buffer[] = [];
    screen.on('data', (chunk) => {
      pieces.push(chunk);
      screen?.write(request);
    });
    screen.resume();
    // Shared; then the encodings that the page asks for: copy, Tight, Hextile, raw.
    screen.write(Buffer.concat([Buffer.of(1), Buffer.from([2, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0, 0]), request]));
    // Its boot ROM has a command line behind Ctrl-B.
    for (let tries = 0; tries < 20; tries += 1) {
      screen.write(Buffer.concat([key(0xffe3, 1), key(0x62, 1), key(0x62, 0), key(0xffe3, 0)]));
      await wait(300);
    }
    const recorded: Buffer[] = [];
    for (let index = 0; index < 60; index += 1) {
      pieces = [];
      press(0x61 + (index % 26));
      await wait(120);
      const reply = Buffer.concat(pieces);
      if (reply.length > 0) recorded.push(reply);
    }
    screen.destroy();
    return recorded;
  } finally {
    qemu.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
}

if (process.argv[2] === 'proxy') await beProxy();
else await measure();

async function measure(): Promise<void> {
  const counts = process.argv.slice(2).map(Number);
  const recorded = await record();
  const sizes = recorded.map(({ length }) => length);
  const host = await startRfbServer({
    password: PASSWORD,
    serve: (socket) => {
      let reply = 0;
      let half = Buffer.alloc(0);
      socket.on('data', (chunk) => {
        half = half.length === 0 ? chunk : Buffer.concat([half, chunk]);
        while (half.length >= (half[0] === 4 ? 8 : 10)) {
          const down = half[0] === 4 && half[1] === 1;
          half = half.subarray(half[0] === 4 ? 8 : 10);
          const picture = recorded[reply % recorded.length];
          if (down && picture !== undefined) socket.write(picture);
          if (down) reply += 1;
        }
      });
    },
  });
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), ['proxy'], { execArgv: ['--import', 'tsx'] });
  const [{ port }] = await once(child, 'message');
  const waiting = new Map<number, (figures: Figures) => void>();
  let count = 0;
  child.on('message', (answer: Figures & { number: number }) => waiting.get(answer.number)?.(answer));
  const tell = (message: object): Promise<Figures> =>
    new Promise((resolve) => {
      count += 1;
      waiting.set(count, resolve);
      child.send({ number: count, ...message });
    });

  const open = async (): Promise<WebSocket> => {
    const token = randomBytes(24).toString('base64url');
    await tell({
      open: {
        sessionId: newId('consoleSession'),
        tokenSha256: tokenSha256(token),
        machineId: newId('machine'),
        title: 'bench',
        target: { host: '127.0.0.1', port: host.port, password: PASSWORD },
        expiresAt: Date.now() + 60_000,
        clientAddress: null,
      },
    });
    const browser = new WebSocket(`ws://127.0.0.1:${port}/websockify?token=${token}`, { perMessageDeflate: false });
    await once(browser, 'message');
    browser.send(Buffer.from('RFB 003.008\n'));
    await once(browser, 'message');
    browser.send(Buffer.of(1));
    await once(browser, 'message');
    browser.send(Buffer.of(1));
    return browser;
  };

  const keyDown = Buffer.from([4, 1, 0, 0, 0, 0, 0, 0x61]);
  const keyUp = Buffer.from([4, 0, 0, 0, 0, 0, 0, 0x61]);
  const request = Buffer.from([3, 1, 0, 0, 0, 0, 3, 0x20, 2, 0x58]);
  /** Types on one connection; gives the milliseconds from each key to its picture. */
  const type = async (send: (bytes: Buffer) => void, onPicture: (listener: () => void) => void, seconds: number): Promise<number[]> => {
    const samples: number[] = [];
    let pressedAt = 0;
    onPicture(() => {
      if (pressedAt === 0) return;
      samples.push(performance.now() - pressedAt);
      pressedAt = 0;
      send(request);
    });
    await wait(Math.random() * (1000 / KEYS_PER_SECOND));
    for (let keys = 0; keys < seconds * KEYS_PER_SECOND; keys += 1) {
      pressedAt = performance.now();
      send(keyDown);
      send(keyUp);
      await wait(1000 / KEYS_PER_SECOND);
    }
    return samples;
  };

  const direct = await connectVnc({ host: '127.0.0.1', port: host.port, password: PASSWORD }, new AbortController().signal);
  direct.write(Buffer.of(1));
  direct.resume();
  const directSamples = await type(
    (bytes) => void direct.write(bytes),
    (listener) => void direct.on('data', listener),
    SECONDS,
  );
  direct.destroy();

  const rows: object[] = [];
  for (const sessions of counts.length > 0 ? counts : [1, 50, 200]) {
    const browsers = await Promise.all(Array.from({ length: sessions }, open));
    const before = await tell({});
    const since = performance.now();
    const samples = (
      await Promise.all(
        browsers.map((browser) =>
          type(
            (bytes) => browser.send(bytes),
            (listener) => void browser.on('message', listener),
            SECONDS,
          ),
        ),
      )
    ).flat();
    const after = await tell({});
    const cores = ((after.cpuSeconds - before.cpuSeconds) * 1000) / (performance.now() - since);
    rows.push({
      sessions,
      proxyCores: Number(cores.toFixed(3)),
      sessionsPerCore: Math.round(sessions / cores),
      residentMib: Math.round(after.residentMib),
      keyToPictureMs: { p50: percentile(samples, 0.5), p99: percentile(samples, 0.99) },
    });
    for (const browser of browsers) browser.close();
    await wait(500);
  }

  const churn = 2000;
  for (let done = 0; done < churn; done += 20) {
    const browsers = await Promise.all(Array.from({ length: 20 }, open));
    // Half of them leave without a word.
    browsers.forEach((browser, index) => {
      if (index % 2 === 0) browser.close();
      else browser.terminate();
    });
  }
  await wait(2000);
  const left = await tell({});
  const result = {
    machine: machine(),
    keysPerSecond: KEYS_PER_SECOND,
    pictureBytes: { p50: percentile(sizes, 0.5), p99: percentile(sizes, 0.99), recorded: sizes.length },
    directMs: { p50: percentile(directSamples, 0.5), p99: percentile(directSamples, 0.99) },
    target: { sessionsPerCore: 200, addedMs: 5, socketsLeft: 0 },
    rows,
    afterOpenAndClose: { count: churn, sessions: left.sessions, sockets: left.sockets, residentMib: Math.round(left.residentMib) },
  };
  console.log(JSON.stringify(result, null, 2));
  child.kill('SIGKILL');
  await host.close();
  process.exitCode = left.sessions === 0 && left.sockets === 0 ? 0 : 1;
}
