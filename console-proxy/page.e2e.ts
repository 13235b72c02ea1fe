/** The page in a real browser against a real QEMU: `node --import tsx --test console-proxy/page.e2e.ts`. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser } from 'playwright-core';
import { newId } from '../protocol/ids.ts';
import { createLog } from '../protocol/log.ts';
import { CloseConsole, OpenConsole } from '../protocol/messages/console.ts';
import { openConsolePage, startBrowser } from './page-driver.ts';
import { type ConsoleProxy, openConsoleProxy } from './proxy.ts';
import { tokenSha256 } from './session.ts';

const PASSWORD = 'k3yb0ard';
/** An address that is not the machine's own loopback: browsers withhold many functions from plain http elsewhere. */
const address =
  Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.family === 'IPv4' && !one.internal)?.address ?? '127.0.0.1';

let folder: string;
let machine: ChildProcess;
let vncPort: number;
let browser: Browser;
let proxy: ConsoleProxy;
let port: number;

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const bound = server.address();
      server.close(() => resolve(typeof bound === 'object' && bound !== null ? bound.port : 0));
    });
  });

/** The characters on the machine's text screen, as its own memory has them. */
async function textScreen(): Promise<string> {
  const dump = join(folder, 'screen');
  await rm(dump, { force: true });
  const monitor = connect(join(folder, 'monitor'));
  await once(monitor, 'connect');
  monitor.write(`pmemsave 0xb8000 4000 "${dump}"\n`);
  const bytes = await (async () => {
    for (let tries = 0; tries < 100; tries += 1) {
      const read = await readFile(dump).catch(() => Buffer.alloc(0));
      if (read.length === 4000) return read;
      await sleep(50);
    }
    return Buffer.alloc(0);
  })();
  monitor.destroy();
  const characters = [...bytes].filter((_byte, index) => index % 2 === 0).map((code) => String.fromCharCode(code || 32));
  return Array.from({ length: 25 }, (_, row) =>
    characters
      .slice(row * 80, row * 80 + 80)
      .join('')
      .trimEnd(),
  ).join('\n');
}

async function untilScreen(expected: RegExp, seconds = 40): Promise<string> {
  let text = '';
  for (let tries = 0; tries < seconds * 4; tries += 1) {
    text = await textScreen();
    if (expected.test(text)) return text;
    await sleep(250);
  }
  throw new assert.AssertionError({ message: `the screen never showed ${expected}:\n${text}` });
}

async function tell(): Promise<{ url: string; sessionId: string }> {
  const token = randomBytes(32).toString('base64url');
  const sessionId = newId('consoleSession');
  const handler = proxy.handlers.find(({ name }) => name === OpenConsole.name);
  await handler?.handle(
    {
      sessionId,
      tokenSha256: tokenSha256(token),
      machineId: newId('machine'),
      title: 'web-1 <b>bold</b>',
      target: { host: '127.0.0.1', port: vncPort, password: PASSWORD },
      expiresAt: Date.now() + 60_000,
      clientAddress: null,
    },
    { requestId: 'e2e', signal: new AbortController().signal },
  );
  return { url: `http://${address}:${port}/resource/noVNC/vnc.html?autoconnect=true&port=${port}&token=${token}`, sessionId };
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nephos-console-'));
  vncPort = await freePort();
  await writeFile(join(folder, 'password'), PASSWORD, { mode: 0o600 });
  machine = spawn(
    'qemu-system-x86_64',
    [
      ...['-nodefaults', '-machine', 'pc,accel=tcg', '-m', '32', '-vga', 'std', '-display', 'none'],
      ...['-object', `secret,id=vnc,file=${join(folder, 'password')}`, '-vnc', `127.0.0.1:${vncPort - 5900},password-secret=vnc`],
      ...['-monitor', `unix:${join(folder, 'monitor')},server=on,wait=off`],
      // Its boot ROM has a command line: a guest that needs no image.
      ...['-netdev', 'user,id=n,restrict=on', '-device', 'virtio-net-pci,netdev=n', '-boot', 'n'],
    ],
    { stdio: 'ignore' },
  );
  proxy = openConsoleProxy({
    log: createLog('console-proxy', { level: 'silent' }),
    ring: () => undefined,
    managementAddresses: [],
    ports: { http: 0, https: 0 },
  });
  port = (await proxy.bound).http;
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await proxy?.close();
  machine?.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

test('CP-01 CP-07 CP-10 a browser shows the screen, and what is typed reaches the machine', { timeout: 120_000 }, async () => {
  const { url, sessionId } = await tell();
  const view = await openConsolePage(browser, url);
  await view.waitForScreen();
  assert.equal(await view.page.title(), 'web-1 <b>bold</b> – console');
  assert.equal(await view.page.locator('#title b').count(), 0, 'a title is text, never markup');
  await untilScreen(/Ctrl-B/);
  await view.press(['Control+b']);
  await untilScreen(/iPXE>/);
  await view.remember();
  await view.press([...'echo', 'Space', ...'hello']);
  assert.ok((await view.waitForChange()) >= 150);
  await view.press(['Enter']);
  await untilScreen(/\nhello\n/);

  await view.typeText('echo "It\'s [Typed]: {A-z} 0..9 ~!@#%^&*()_+=<>?|/"\n');
  await untilScreen(/\n"It's \[Typed\]: \{A-z\} 0\.\.9 ~!@#%\^&\*\(\)_\+=<>\?\|\/"\n/);
  assert.deepEqual(view.complaints, []);

  const second = await openConsolePage(browser, url);
  assert.match((await second.waitForEnd()).text, /has been used/);
  await second.close();

  const close = proxy.handlers.find(({ name }) => name === CloseConsole.name);
  await close?.handle({ sessionId, reason: 'the administrator closed it' }, { requestId: 'e2e', signal: new AbortController().signal });
  assert.deepEqual(await view.waitForEnd(), { heading: 'The session has ended', text: 'The administrator closed it.' });
  await view.close();
});

test('a browser that is closed ends its session', { timeout: 60_000 }, async () => {
  const view = await openConsolePage(browser, (await tell()).url);
  await view.waitForScreen();
  assert.equal((await proxy.beat()).consoleProxy?.sessions, 1);
  await view.close();
  for (let tries = 0; tries < 50 && (await proxy.beat()).consoleProxy?.sessions !== 0; tries += 1) await sleep(50);
  assert.equal((await proxy.beat()).consoleProxy?.sessions, 0);
});

test('a link that is no link says so', { timeout: 60_000 }, async () => {
  const view = await openConsolePage(browser, `http://${address}:${port}/resource/noVNC/vnc.html?token=nonsense`);
  assert.deepEqual(await view.waitForEnd(), { heading: 'This link does not open a console', text: 'This console link is not valid.' });
  await view.close();
});

test('the page works under a path of another server', { timeout: 60_000 }, async () => {
  // What a management server does: it takes its own prefix off and passes everything else on.
  const prefix = '/console/018f0000-0000-7000-8000-000000000001';
  const front = createServer((socket) => {
    const inner = connect(port, '127.0.0.1');
    socket.on('data', (chunk) => inner.write(chunk.toString('latin1').replace(`${prefix}/`, '/'), 'latin1'));
    inner.on('data', (chunk) => socket.write(chunk));
    for (const [one, other] of [
      [socket, inner],
      [inner, socket],
    ] as const)
      one.on('close', () => other.destroy()).on('error', () => undefined);
  }).listen(0, address);
  await once(front, 'listening');
  const bound = front.address();
  const frontPort = typeof bound === 'object' && bound !== null ? bound.port : 0;
  const { url } = await tell();
  const view = await openConsolePage(browser, url.replace(`:${port}/`, `:${frontPort}${prefix}/`));
  await view.waitForScreen();
  await view.close();
  front.close();
});
