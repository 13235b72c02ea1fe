import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import forge from 'node-forge';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import { newId } from '../protocol/ids.ts';
import {
  ApplyConsoleProxy,
  CloseConsole,
  type ConsoleProxyConfiguration,
  ListConsoles,
  OpenConsole,
} from '../protocol/messages/console.ts';
import type { Infer } from '../protocol/schema.ts';
import { type ConsoleProxyOptions, openConsoleProxy } from './proxy.ts';
import { type RfbTestServer, type RfbTestServerOptions, startRfbServer } from './rfb-server.testing.ts';
import { tokenSha256 } from './session.ts';

interface Running {
  readonly port: number;
  readonly httpsPort: () => number;
  readonly host: RfbTestServer;
  readonly ask: (name: string, body: unknown) => Promise<unknown>;
  readonly apply: (over?: Partial<ConsoleProxyConfiguration>) => Promise<unknown>;
  /** Tells of a session and gives back its token and id. */
  readonly tell: (over?: Partial<Infer<typeof OpenConsole.ask>>) => Promise<{ token: string; sessionId: string }>;
  readonly connected: () => Promise<number>;
  readonly rings: () => number;
  readonly logged: () => string;
  readonly advance: (seconds: number) => void;
}

async function run(context: TestContext, over: Partial<ConsoleProxyOptions> = {}, rfb: RfbTestServerOptions = {}): Promise<Running> {
  const host = await startRfbServer(rfb);
  const lines: string[] = [];
  let rings = 0;
  let ahead = 0;
  const proxy = openConsoleProxy({
    log: pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) }),
    ring: () => {
      rings += 1;
    },
    managementAddresses: [],
    ports: { http: 0, https: 0 },
    loadPage: async () => ({ 'vnc.html': '<!doctype html>', 'vnc.js': 'export {};'.repeat(100), 'vnc.css': 'p{}' }),
    sweepMilliseconds: 20,
    now: () => Date.now() + ahead,
    ...over,
  });
  const bound = await proxy.bound;
  context.after(async () => {
    await proxy.close();
    await host.close();
  });
  const ask = async (name: string, body: unknown): Promise<unknown> => {
    const handler = proxy.handlers.find((candidate) => candidate.name === name);
    assert.ok(handler, name);
    return handler.handle(body, { requestId: 'test', signal: new AbortController().signal });
  };
  let generation = 0;
  return {
    port: bound.http,
    httpsPort: () => bound.https() ?? 0,
    host,
    ask,
    apply: (wanted = {}) => {
      generation += 1;
      return ask(ApplyConsoleProxy.name, { generation, sessionsMax: 50, idleTimeoutSeconds: 300, certificate: null, ...wanted });
    },
    tell: async (wanted = {}) => {
      const token = randomBytes(32).toString('base64url');
      const sessionId = newId('consoleSession');
      await ask(OpenConsole.name, {
        sessionId,
        tokenSha256: tokenSha256(token),
        machineId: newId('machine'),
        title: 'web-1',
        target: { host: '127.0.0.1', port: host.port, password: 'passw0rd' },
        expiresAt: Date.now() + ahead + 60_000,
        clientAddress: null,
        ...wanted,
      });
      return { token, sessionId };
    },
    connected: async () => (await proxy.beat()).consoleProxy?.sessions ?? -1,
    rings: () => rings,
    logged: () => lines.join(''),
    advance: (seconds) => {
      ahead += seconds * 1000;
    },
  };
}

const urlOf = (port: number, token: string): string => `ws://127.0.0.1:${port}/websockify?token=${token}`;

/** A browser that has finished the handshake. */
async function open(url: string, options: { headers?: Record<string, string>; rejectUnauthorized?: boolean } = {}): Promise<WebSocket> {
  const socket = new WebSocket(url, { perMessageDeflate: false, ...options });
  const pieces: Buffer[] = [];
  const enough = (length: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (Buffer.concat(pieces).length < length) return;
        socket.off('message', check).off('close', fail);
        resolve();
      };
      const fail = (code: number, reason: Buffer): void =>
        reject(Object.assign(new Error(`closed: ${reason}`), { code, reason: String(reason) }));
      socket.on('message', check).on('close', fail);
      check();
    });
  const collect = (data: Buffer): void => void pieces.push(data);
  socket.on('message', collect);
  await once(socket, 'open');
  await enough(12);
  assert.equal(Buffer.concat(pieces).toString('latin1'), 'RFB 003.008\n');
  socket.send(Buffer.from('RFB 003.008\n'));
  await enough(14);
  assert.deepEqual([...Buffer.concat(pieces).subarray(12)], [1, 1], 'the only security type is None');
  socket.send(Buffer.of(1));
  await enough(18);
  socket.off('message', collect);
  // An exclusive session is asked for here.
  socket.send(Buffer.of(0));
  return socket;
}

/** How the proxy answers when it does not become a WebSocket. */
async function refusal(url: string, headers: Record<string, string> = {}): Promise<{ status: number; reason: string; text: string }> {
  const socket = new WebSocket(url, { headers });
  const [, response] = await once(socket, 'unexpected-response');
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, ...JSON.parse(Buffer.concat(chunks).toString('utf8')) };
}

const closed = async (socket: WebSocket): Promise<{ code: number; reason: string }> => {
  const [code, reason] = await once(socket, 'close');
  return { code, reason: String(reason) };
};
const until = async (condition: () => boolean | Promise<boolean>, what: string): Promise<void> => {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await condition()) return;
    await sleep(10);
  }
  assert.fail(`did not happen: ${what}`);
};

function get(
  port: number,
  path: string,
  { headers = {}, secure = false, method = 'GET' }: { headers?: Record<string, string>; secure?: boolean; method?: string } = {},
): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const request = (secure ? httpsRequest : httpRequest)(
      { host: '127.0.0.1', port, path, method, headers, agent: false, ...(secure ? { rejectUnauthorized: false } : {}) },
      async (response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of response) chunks.push(chunk);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      },
    );
    request.on('error', reject).end();
  });
}

test('CP-09 CP-10 the proxy knows the password, the browser needs none, and bytes pass both ways', async (context) => {
  const screen = randomBytes(300_000);
  const proxy = await run(context, {}, { serve: (socket) => void socket.write(screen) });
  assert.equal(proxy.host.sockets.size, 0);
  const { token } = await proxy.tell();
  await sleep(20);
  assert.equal(proxy.host.sockets.size, 0, 'the host is not dialled before a browser has come');

  const browser = await open(urlOf(proxy.port, token));
  const pieces: Buffer[] = [];
  browser.on('message', (data: Buffer) => pieces.push(data));
  const key = Buffer.from([4, 1, 0, 0, 0, 0, 0, 0x61]);
  browser.send(key);
  await until(() => Buffer.concat(pieces).length === screen.length, 'the whole screen arrives');
  assert.ok(Buffer.concat(pieces).equals(screen));
  await until(() => proxy.host.received().length === 9, 'the key arrives');
  assert.deepEqual(proxy.host.received(), Buffer.concat([Buffer.of(1), key]), 'ClientInit is shared whatever the browser wants');
  assert.equal(await proxy.connected(), 1);
  assert.ok(proxy.rings() >= 1);
  browser.close();
  await until(async () => (await proxy.connected()) === 0, 'the session ends');
  await until(() => proxy.host.sockets.size === 0, "the host's socket is closed");
});

test('CP-10 two viewers share a screen', async (context) => {
  const proxy = await run(context, {}, { serve: (socket) => void socket.write('screen') });
  const viewers = await Promise.all([proxy.tell(), proxy.tell()]);
  const browsers = await Promise.all(viewers.map(({ token }) => open(urlOf(proxy.port, token))));
  await until(() => proxy.host.received().length === 2, 'both are through the handshake');
  assert.deepEqual([...proxy.host.received()], [1, 1]);
  for (const browser of browsers) browser.close();
});

test('CP-08 a link opens once, in time, unchanged, and from the right client', async (context) => {
  const proxy = await run(context);
  const { token } = await proxy.tell();
  const browser = await open(urlOf(proxy.port, token));
  const replay = await refusal(urlOf(proxy.port, token));
  assert.deepEqual([replay.status, replay.reason], [403, 'used']);
  assert.match(replay.text, /has been used/);

  const second = await proxy.tell();
  const changed = second.token.slice(0, -1) + (second.token.endsWith('A') ? 'B' : 'A');
  assert.equal((await refusal(urlOf(proxy.port, changed))).reason, 'unknown');
  assert.equal((await refusal(`ws://127.0.0.1:${proxy.port}/websockify`)).reason, 'unknown');

  const other = await proxy.tell({ clientAddress: '198.51.100.7' });
  assert.equal((await refusal(urlOf(proxy.port, other.token))).reason, 'wrong client');
  const forged = await refusal(urlOf(proxy.port, other.token), { 'x-forwarded-for': '198.51.100.7' });
  assert.equal(forged.reason, 'wrong client', 'only a management server is believed');

  proxy.advance(61);
  assert.equal((await refusal(urlOf(proxy.port, second.token))).reason, 'expired');
  assert.equal(await proxy.connected(), 1, 'a session that is open does not expire');
  browser.close();
});

test('CP-08 a management server may speak for a browser, with the last address it names', async (context) => {
  const proxy = await run(context, { managementAddresses: ['127.0.0.1'] });
  const { token } = await proxy.tell({ clientAddress: '198.51.100.7' });
  assert.equal((await refusal(urlOf(proxy.port, token), { 'x-forwarded-for': '198.51.100.7, 198.51.100.8' })).reason, 'wrong client');
  const browser = await open(urlOf(proxy.port, token), { headers: { 'x-forwarded-for': '198.51.100.8, 198.51.100.7' } });
  assert.equal(await proxy.connected(), 1);
  browser.close();
});

test('a request that cannot become a WebSocket does not use the link up', async (context) => {
  const proxy = await run(context);
  const { token } = await proxy.tell();
  const raw = async (head: string): Promise<string> => {
    const socket = connect(proxy.port, '127.0.0.1');
    socket.write(head);
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    return answer;
  };
  const upgrade = 'Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
  assert.match(await raw(`GET /websockify?token=${token} HTTP/1.1\r\n${upgrade}\r\n`), /^HTTP\/1.1 400/);
  assert.match(
    await raw(
      `POST /websockify?token=${token} HTTP/1.1\r\n${upgrade}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`,
    ),
    /^HTTP\/1.1 400/,
  );
  const malformed = `GET /websockify?token=${token} HTTP/1.1\r\n${upgrade}Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n`;
  assert.match(await raw(malformed), /^HTTP\/1.1 400/);
  await until(async () => (await proxy.connected()) === 0, 'nothing is counted');
});

test('CP-02 the session above the limit is refused clearly, and its link stays good', async (context) => {
  const proxy = await run(context);
  await proxy.apply({ sessionsMax: 50 });
  const browsers = await Promise.all(Array.from({ length: 50 }, async () => open(urlOf(proxy.port, (await proxy.tell()).token))));
  assert.equal(await proxy.connected(), 50);
  const { token } = await proxy.tell();
  const full = await refusal(urlOf(proxy.port, token));
  assert.deepEqual([full.status, full.reason], [503, 'full']);
  assert.match(full.text, /All console sessions of this proxy are in use/);
  const seen = JSON.parse((await get(proxy.port, `/session?token=${token}`)).body.toString('utf8'));
  assert.equal(seen.state, 'Full');

  // A crashed browser says nothing; its machine resets the connection.
  for (const browser of browsers) {
    const { _socket: socket }: { _socket?: Socket } = Object(browser);
    socket?.resetAndDestroy();
  }
  await until(async () => (await proxy.connected()) === 0, 'the count equals reality');
  await until(() => proxy.host.sockets.size === 0, 'no connection to a host is left');
  const late = await open(urlOf(proxy.port, token));
  assert.equal(await proxy.connected(), 1);
  late.close();
});

test('a browser that vanished without a word is noticed', async (context) => {
  const proxy = await run(context, { pingMilliseconds: 60 });
  const { token } = await proxy.tell();
  const browser = await open(urlOf(proxy.port, token));
  await sleep(250);
  assert.equal(await proxy.connected(), 1, 'one that answers is kept');
  // It no longer reads, so it no longer answers.
  browser.pause();
  await until(async () => (await proxy.connected()) === 0, 'the session ends');
  browser.terminate();
});

test('CP-08 a live session is cut with the reason, and listed', async (context) => {
  const proxy = await run(context);
  const { token, sessionId } = await proxy.tell();
  const waiting = await proxy.tell();
  const browser = await open(urlOf(proxy.port, token));
  const end = closed(browser);
  const before = proxy.rings();
  await proxy.ask(CloseConsole.name, { sessionId, reason: 'the account was disabled' });
  assert.equal(await proxy.connected(), 0, 'it no longer counts, whatever the browser does');
  assert.ok(proxy.rings() > before);
  assert.deepEqual(await end, { code: 4000, reason: 'The account was disabled.' });
  await proxy.ask(CloseConsole.name, { sessionId, reason: 'again' });
  await proxy.ask(CloseConsole.name, { sessionId: waiting.sessionId, reason: 'the machine was destroyed' });
  await proxy.ask(CloseConsole.name, { sessionId: newId('consoleSession'), reason: 'never heard of' });
  const closedBefore = JSON.parse((await get(proxy.port, `/session?token=${waiting.token}`)).body.toString('utf8'));
  assert.deepEqual(closedBefore, { state: 'Ended', title: 'web-1', text: 'The machine was destroyed.' });
  const { sessions }: Infer<typeof ListConsoles.answer> = Object(await proxy.ask(ListConsoles.name, {}));
  assert.deepEqual(
    sessions.map(({ state, clientAddress }) => [state, clientAddress]),
    [
      ['Ended', '127.0.0.1'],
      ['Ended', null],
    ],
  );
  assert.ok(sessions.every(({ endedAt }) => endedAt !== null));
});

test('a session without a user ends although the screen moves; one with a user goes on', async (context) => {
  const proxy = await run(context);
  await proxy.apply({ idleTimeoutSeconds: 60 });
  const [idle, busy] = await Promise.all([proxy.tell(), proxy.tell()]);
  const [idleBrowser, busyBrowser] = await Promise.all([open(urlOf(proxy.port, idle.token)), open(urlOf(proxy.port, busy.token))]);
  const end = closed(idleBrowser);
  await until(() => proxy.host.received().length === 2, 'both are through the handshake');
  proxy.advance(50);
  idleBrowser.send(Buffer.from([3, 1, 0, 0, 0, 0, 3, 32, 2, 88]));
  busyBrowser.send(Buffer.from([4, 1, 0, 0, 0, 0, 0, 0x61]));
  await until(() => proxy.host.received().length === 20, 'both messages are through');
  proxy.advance(20);
  assert.deepEqual(await end, { code: 4000, reason: 'Nobody used the keyboard or mouse for 1 minutes.' });
  assert.equal(await proxy.connected(), 1);
  busyBrowser.close();
});

test('a slow browser slows the host down instead of filling the memory', async (context) => {
  const total = 96 * 1024 * 1024;
  const block = randomBytes(1024 * 1024);
  const expected = createHash('sha256');
  for (let sent = 0; sent < total; sent += block.length) expected.update(block);
  let taken = 0;
  const proxy = await run(
    context,
    {},
    {
      serve: (socket) => {
        const more = (): void => {
          while (taken < total && !socket.writableNeedDrain) {
            taken += block.length;
            socket.write(block);
          }
        };
        socket.on('drain', more);
        more();
      },
    },
  );
  const { token } = await proxy.tell();
  const browser = await open(urlOf(proxy.port, token));
  browser.pause();
  await sleep(600);
  const stalledAt = taken;
  // What fits into the kernel's socket buffers and our own limit; the rest stays at the host.
  assert.ok(stalledAt < 24 * 1024 * 1024, `the host could send ${stalledAt} bytes`);
  await sleep(200);
  assert.equal(taken, stalledAt, 'nothing moves while nobody reads');
  const hash = createHash('sha256');
  let received = 0;
  browser.on('message', (data: Buffer) => {
    hash.update(data);
    received += data.length;
  });
  browser.resume();
  await until(() => received === total, 'all of it arrives in the end');
  assert.equal(hash.digest('hex'), expected.digest('hex'));
  browser.close();
});

test('a host that does not take keys slows the browser down', async (context) => {
  const proxy = await run(context, {}, { serve: (socket) => void socket.pause() });
  const { token } = await proxy.tell();
  const browser = await open(urlOf(proxy.port, token));
  const paste = Buffer.concat([Buffer.from([6, 0, 0, 0, 0, 1, 0x7f, 0xf8]), Buffer.alloc(0x17ff8)]);
  for (let index = 0; index < 400; index += 1) browser.send(paste);
  await sleep(500);
  assert.ok(browser.bufferedAmount > 4 * 1024 * 1024, `${browser.bufferedAmount} bytes wait at the browser`);
  assert.equal(await proxy.connected(), 1);
  browser.terminate();
});

test('a message larger than any browser sends ends the session', async (context) => {
  const proxy = await run(context);
  const { token } = await proxy.tell();
  const browser = await open(urlOf(proxy.port, token));
  const end = closed(browser);
  browser.send(Buffer.alloc(300 * 1024));
  assert.ok([1009, 4000].includes((await end).code));
  await until(async () => (await proxy.connected()) === 0, 'the session ends');
});

test('what is wrong with the host is said', async (context) => {
  const cases: readonly (readonly [RfbTestServerOptions, RegExp])[] = [
    [{ password: 'another1' }, /^The host's console did not accept its password: authentication failed\.$/],
    [{ types: [1] }, /^The host's console does not ask for its password; the machine must be started again\.$/],
    [{ types: [] }, /^The host's console refused: too many\?clients\.$/],
    [{ version: 'RFB 003.003\n' }, /^The host's console does not speak RFB 3\.8\.$/],
    [{ version: 'SSH-2.0-Open' }, /^The host's console does not speak RFB 3\.8\.$/],
  ];
  for (const [rfb, expected] of cases) {
    const proxy = await run(context, {}, rfb);
    const { token } = await proxy.tell();
    const end = await closed(new WebSocket(urlOf(proxy.port, token)));
    assert.equal(end.code, 4000);
    assert.match(end.reason, expected);
    assert.equal(await proxy.connected(), 0);
    assert.equal((await refusal(urlOf(proxy.port, token))).reason, 'used');
    await until(() => proxy.host.sockets.size === 0, 'the connection to the host is closed');
  }
  const proxy = await run(context);
  await proxy.host.close();
  const end = await closed(new WebSocket(urlOf(proxy.port, (await proxy.tell()).token)));
  assert.deepEqual(end, { code: 4000, reason: "The host's console cannot be reached." });
});

test('a machine that stops ends its session with the reason', async (context) => {
  const proxy = await run(context);
  const browser = await open(urlOf(proxy.port, (await proxy.tell()).token));
  await until(() => proxy.host.received().length === 1, 'connected');
  const end = closed(browser);
  for (const socket of proxy.host.sockets) socket.destroy();
  assert.deepEqual(await end, { code: 4000, reason: "The machine's screen was closed: it was stopped, restarted or moved." });
  assert.equal(await proxy.connected(), 0);
});

test('the page is served with a strict policy, compressed, and refreshed only when it changed', async (context) => {
  const proxy = await run(context);
  const path = '/resource/noVNC/vnc.js';
  const page = await get(proxy.port, '/resource/noVNC/vnc.html?autoconnect=true&port=80&token=abc');
  assert.equal(page.status, 200);
  assert.equal(page.headers['content-type'], 'text/html; charset=utf-8');
  const policy = String(page.headers['content-security-policy']);
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*|http/);
  assert.equal(page.headers['referrer-policy'], 'no-referrer');
  const script = await get(proxy.port, path, { headers: { 'accept-encoding': 'gzip, br' } });
  assert.equal(script.headers['content-encoding'], 'gzip');
  assert.ok(script.body.length < 1000);
  assert.equal((await get(proxy.port, path, { headers: { 'if-none-match': String(script.headers.etag) } })).status, 304);
  assert.equal((await get(proxy.port, path, { method: 'HEAD' })).body.length, 0);
  for (const wrong of ['/', '/resource/noVNC/', '/resource/noVNC/../../etc/passwd', '/resource/noVNC/%2e%2e/x', '/websockify'])
    assert.equal((await get(proxy.port, wrong)).status, 404, wrong);
  assert.equal((await get(proxy.port, path, { method: 'POST' })).status, 405);
});

test('the state of a link is told without using it', async (context) => {
  const proxy = await run(context);
  const look = async (token: string): Promise<unknown> =>
    JSON.parse((await get(proxy.port, `/session?token=${token}`)).body.toString('utf8'));
  const { token } = await proxy.tell();
  assert.deepEqual(await look(token), { state: 'Waiting', title: 'web-1', text: null });
  assert.deepEqual(await look(token), { state: 'Waiting', title: 'web-1', text: null });
  assert.deepEqual(await look('nonsense'), { state: 'Unknown', title: null, text: 'This console link is not valid.' });
  const browser = await open(urlOf(proxy.port, token));
  assert.match(JSON.stringify(await look(token)), /"Connected".*has been used/);
  browser.close();
  const late = await proxy.tell();
  proxy.advance(100);
  assert.match(JSON.stringify(await look(late.token)), /"Expired".*has expired/);
  const bound = await proxy.tell({ clientAddress: '198.51.100.7' });
  assert.deepEqual(
    await look(bound.token),
    { state: 'Bound', title: null, text: 'This console link was made for another network address.' },
    'the true reason, and not the name of the machine',
  );
  const own = await proxy.tell({ clientAddress: '127.0.0.1' });
  assert.deepEqual(await look(own.token), { state: 'Waiting', title: 'web-1', text: null });
});

test('CP-08 of many who use a link at the same moment exactly one gets the console', async (context) => {
  const proxy = await run(context);
  const { token } = await proxy.tell();
  const attempts = await Promise.all(
    Array.from({ length: 20 }, () =>
      open(urlOf(proxy.port, token)).then(
        (browser) => browser,
        () => null,
      ),
    ),
  );
  const opened = attempts.filter((browser) => browser !== null);
  assert.equal(opened.length, 1);
  assert.equal(await proxy.connected(), 1);
  opened[0]?.close();
});

test('no token and no password is logged', async (context) => {
  const proxy = await run(context, {}, { password: 'another1' });
  const { token } = await proxy.tell();
  await get(proxy.port, `/session?token=${token}`);
  await closed(new WebSocket(urlOf(proxy.port, token)));
  await refusal(urlOf(proxy.port, token));
  assert.match(proxy.logged(), /console refused/);
  assert.match(proxy.logged(), /console could not be opened/);
  assert.ok(!proxy.logged().includes(token));
  assert.ok(!proxy.logged().includes('passw0rd'));
});

function selfSigned(name: string): { chain: string; key: string } {
  const pair = forge.pki.rsa.generateKeyPair(2048);
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = pair.publicKey;
  certificate.serialNumber = '01';
  certificate.validity.notBefore = new Date(Date.now() - 60_000);
  certificate.validity.notAfter = new Date(Date.now() + 3600_000);
  certificate.setSubject([{ name: 'commonName', value: name }]);
  certificate.setIssuer([{ name: 'commonName', value: name }]);
  certificate.sign(pair.privateKey, forge.md.sha256.create());
  return { chain: forge.pki.certificateToPem(certificate), key: forge.pki.privateKeyToPem(pair.privateKey) };
}

test('with a certificate consoles are on https only, and a new certificate cuts nobody', async (context) => {
  const proxy = await run(context);
  await proxy.apply({ certificate: selfSigned('first.test') });
  const secureUrl = (token: string): string => urlOf(proxy.httpsPort(), token).replace('ws:', 'wss:');
  const redirect = await get(proxy.port, '/resource/noVNC/vnc.html?token=t', { headers: { host: 'proxy.test:80' } });
  assert.equal(redirect.status, 308);
  assert.match(String(redirect.headers.location), /^https:\/\/proxy\.test(:\d+)?\/resource\/noVNC\/vnc\.html\?token=t$/);
  const { token } = await proxy.tell();
  assert.equal((await refusal(urlOf(proxy.port, token))).reason, 'insecure');
  const browser = await open(secureUrl(token), { rejectUnauthorized: false });
  assert.equal((await get(proxy.httpsPort(), '/resource/noVNC/vnc.html', { secure: true })).status, 200);

  await proxy.apply({ certificate: selfSigned('second.test') });
  await assert.rejects(
    proxy.apply({ certificate: { chain: 'nonsense', key: 'nonsense' } }),
    /certificate and key for consoles cannot be used/,
  );
  assert.equal(await proxy.connected(), 1);
  const second = await open(secureUrl((await proxy.tell()).token), { rejectUnauthorized: false });
  await proxy.apply({ certificate: null });
  const third = await open(urlOf(proxy.port, (await proxy.tell()).token));
  assert.equal(await proxy.connected(), 3);
  for (const socket of [browser, second, third]) socket.close();
});

test('a management server may pass browsers on over plain http although there is a certificate', async (context) => {
  const proxy = await run(context, { managementAddresses: ['127.0.0.1'] });
  await proxy.apply({ certificate: selfSigned('proxy.test') });
  assert.equal((await get(proxy.port, '/resource/noVNC/vnc.html')).status, 200);
  const browser = await open(urlOf(proxy.port, (await proxy.tell()).token));
  browser.close();
});

test('an older configuration is ignored', async (context) => {
  const proxy = await run(context);
  const body = { sessionsMax: 1, idleTimeoutSeconds: 300, certificate: null };
  assert.deepEqual(await proxy.ask(ApplyConsoleProxy.name, { ...body, generation: 7 }), { generation: 7 });
  assert.deepEqual(await proxy.ask(ApplyConsoleProxy.name, { ...body, sessionsMax: 9, generation: 6 }), { generation: 7 });
  const browser = await open(urlOf(proxy.port, (await proxy.tell()).token));
  assert.equal((await refusal(urlOf(proxy.port, (await proxy.tell()).token))).reason, 'full');
  browser.close();
});
