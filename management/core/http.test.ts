import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import test from 'node:test';
import { Secret } from '../../protocol/schema.ts';
import { sign, stringToSign } from './auth/signature.ts';
import { asCommands, command, reply } from './command.ts';
import type { Database } from './db.ts';
import { ADMIN, withFront } from './http.testing.ts';
import { closeHttpServer } from './http.ts';
import { p, required } from './params.ts';
import { sha256Hex } from './secrets.ts';

const echo = command({
  name: 'login',
  about: 'Answers without a login.',
  access: 'public',
  params: {
    text: required(p.string('a text')),
    number: p.integer('a number'),
    many: p.texts('texts'),
    details: p.details('details'),
  },
  reply: reply.success(),
  run: async (_context, { text, number, many, details }) => {
    // What is required is there; a command relies on it.
    assert.equal(typeof text, 'string');
    return { displaytext: JSON.stringify({ text, number, many, details }) } as never;
  },
});

const post = (url: string, body: string) => fetch(`${url}?command=login&response=json`, { method: 'POST', body });
const errorOf = async (response: Response) => {
  const body = (await response.json()) as { loginresponse?: { errortext?: string; cserrorcode?: number } };
  return { status: response.status, text: body.loginresponse?.errortext ?? '', cs: body.loginresponse?.cserrorcode };
};

test('a visitor who breaks off while his console is looked for does not end the server', async () => {
  let seen: Duplex | null = null;
  let asked = () => {};
  const upgraded = new Promise<void>((done) => {
    asked = done;
  });
  const mount = {
    path: '/console',
    handle: () => {},
    upgrade: (_request: unknown, socket: Duplex) => {
      seen = socket;
      asked();
    },
  };
  await withFront({ mounts: [mount] }, async ({ port, url }) => {
    const client = connect(port, '127.0.0.1');
    await once(client, 'connect');
    client.write('GET /console/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await upgraded;
    const socket = seen as Duplex | null;
    assert.ok(socket);
    const closed = new Promise((done) => socket.once('close', done));
    client.resetAndDestroy();
    await closed;
    assert.equal((await fetch(url)).status, 401);
  });
});

test('a required parameter that comes in another shape, or blank, is missing', async () => {
  await withFront({ commands: asCommands(echo) }, async ({ url }) => {
    for (const body of ['', 'text=', 'text[0].a=b']) {
      const { status, text, cs } = await errorOf(await post(url, body));
      assert.equal(text, 'Unable to execute API command login due to missing parameter text', body);
      assert.deepEqual([status, cs], [431, 9999]);
    }
  });
});

test('a request of very many parameters is refused before it costs anything', async () => {
  await withFront({ commands: asCommands(echo) }, async ({ url }) => {
    const body = Array.from({ length: 70_000 }, (_, index) => `details[0].${index}=`).join('&');
    assert.ok(body.length > 900_000 && body.length < 1024 * 1024 + 600_000);
    const began = performance.now();
    const response = await post(url, body.slice(0, 1024 * 1024 - 1));
    assert.equal(response.status, 400);
    assert.ok(performance.now() - began < 3000);
    const good = Array.from({ length: 4000 }, (_, index) => `details[0].k${index}=v`).join('&');
    assert.equal((await post(url, `text=x&${good}`)).status, 200);
  });
});

test('numbers are decimal texts within their type, and long values are refused', async () => {
  await withFront({ commands: asCommands(echo) }, async ({ url }) => {
    for (const number of ['0x10', '1e3', '1.5', '3000000000', '-2147483649', '12a', 'Infinity']) {
      const { status, text } = await errorOf(await post(url, `text=x&number=${number}`));
      assert.equal(text, `Unable to execute API command login due to invalid value ${number} for parameter number`);
      assert.equal(status, 431);
    }
    assert.equal((await post(url, 'text=x&number=-2147483648')).status, 200);
    assert.equal((await post(url, 'text=x&number=+7')).status, 200);
    assert.equal((await errorOf(await post(url, `text=x&many=a,${'b'.repeat(256)}`))).status, 431);
    assert.equal((await errorOf(await post(url, `text=x&details[0].a=${'b'.repeat(4097)}`))).status, 431);
    assert.equal((await errorOf(await post(url, `text=x&details[0].${'a'.repeat(256)}=b`))).status, 431);
  });
});

test('a field named __proto__ is a name like any other', async () => {
  await withFront({ commands: asCommands(echo) }, async ({ url }) => {
    const response = await post(url, 'text=x&details[0].__proto__=evil&details[0].constructor=c');
    const { loginresponse } = (await response.json()) as { loginresponse: { displaytext: string } };
    assert.equal(loginresponse.displaytext, '{"text":"x","details":{"__proto__":"evil","constructor":"c"}}');
    assert.equal(({} as Record<string, unknown>)['evil'], undefined);
  });
});

const slow = command({
  name: 'login',
  about: 'Answers after a while.',
  access: 'public',
  params: {},
  reply: reply.success(),
  run: () => new Promise<void>((done) => setTimeout(done, 400)),
});

test('a server that ends answers what it was asked, lets idle connections go and does not wait for open consoles', async () => {
  let upgraded = () => {};
  const opened = new Promise<void>((done) => {
    upgraded = done;
  });
  const mount = { path: '/console', handle: () => {}, upgrade: () => upgraded() };
  await withFront({ commands: asCommands(slow), mounts: [mount] }, async ({ port, url, server }) => {
    const idle = connect(port, '127.0.0.1');
    await once(idle, 'connect');
    const console = connect(port, '127.0.0.1');
    console.write('GET /console/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await opened;
    const answered = post(url, '');
    await new Promise((done) => setTimeout(done, 100));
    const began = performance.now();
    const closed = closeHttpServer(server, 5000);
    await assert.rejects(fetch(url));
    assert.equal((await answered).status, 200);
    await closed;
    assert.ok(performance.now() - began < 2500);
    idle.destroy();
    console.destroy();
  });
});

test('health is told in bounded time, and one look serves all who ask', async () => {
  let looks = 0;
  const health = () => {
    looks += 1;
    return new Promise<Record<string, boolean>>(() => {});
  };
  await withFront({ health, healthMs: 200 }, async ({ port }) => {
    const answers = await Promise.all([1, 2, 3].map(() => fetch(`http://127.0.0.1:${port}/healthz`)));
    for (const answer of answers) {
      assert.equal(answer.status, 503);
      assert.deepEqual(await answer.json(), { healthy: false });
    }
    assert.equal(looks, 1);
  });
  await withFront({ health: () => Promise.reject(new Error('broken')) }, async ({ port }) => {
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 503);
  });
});

test('a page of another site can neither log its visitor in nor use or end his session', async () => {
  let ended = 0;
  const open = command({
    name: 'login',
    about: 'Logs everybody in.',
    access: 'public',
    params: {},
    reply: reply.success(),
    run: async ({ session }) => void (await session?.open(ADMIN.userId)),
  });
  const who = command({ name: 'who', about: 'Says who.', access: 'user', params: {}, reply: reply.success(), run: async () => {} });
  const key = 'the-session-key';
  const row = { id: sha256Hex('cookie'), userId: ADMIN.userId, sessionKeySha256: sha256Hex(key), lastSeenAt: new Date() };
  const tx = { insert: async () => {}, query: async () => [{ n: 0 }], delete: async () => void (ended += 1) };
  const db = { read: { findOneBy: async () => row }, transact: async (run: (given: unknown) => unknown) => run(tx) } as unknown as Database;
  const callers = { byApiKey: async () => null, byUserId: async () => ADMIN };
  await withFront({ commands: asCommands(open, who), services: { db }, callers }, async ({ port, url }) => {
    const ask = (name: string, headers: Record<string, string>, sessionKey = key) =>
      fetch(`${url}?command=${name}&response=json&sessionkey=${sessionKey}`, {
        method: 'POST',
        headers,
      });
    const raw = { cookie: `JSESSIONID=cookie; sessionkey=${key}` };
    for (const headers of [
      { 'sec-fetch-site': 'cross-site', ...raw },
      { origin: 'https://evil.example', ...raw },
      { origin: 'null', ...raw },
    ]) {
      assert.equal((await ask('who', headers)).status, 401);
      assert.equal((await ask('who', headers, 'wrong')).status, 401);
      const login = await ask('login', headers);
      assert.equal(login.status, 531);
      assert.deepEqual(login.headers.getSetCookie(), []);
    }
    assert.equal(ended, 0);
    for (const headers of [{ 'sec-fetch-site': 'same-origin' }, { origin: `http://127.0.0.1:${port}` }, {}]) {
      assert.equal((await ask('who', { ...raw, ...headers })).status, 200);
      assert.equal((await ask('login', headers)).status, 200);
    }
  });
});

test('signatures with an end, and POST for what changes something, can be made the rule', async () => {
  const secret = 'Sec-ret';
  const callers = { byApiKey: async () => ({ caller: ADMIN, secretKey: new Secret(secret) }), byUserId: async () => null };
  const commands = ['listThings', 'makeThing', 'quotaSummary'].map((name) =>
    command({ name, about: 'Does it.', access: 'user', params: {}, reply: reply.success(), run: async () => {} }),
  );
  const at = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();
  const signed = async (url: string, method: string, name: string, more: Record<string, string> = {}) => {
    const pairs = Object.entries({ command: name, response: 'json', apiKey: 'k', ...more });
    const signature = sign(stringToSign(pairs, 'raw'), secret);
    const response = await fetch(`${url}?${new URLSearchParams([...pairs, ['signature', signature]])}`, { method });
    return response.status;
  };
  const fresh = { signatureversion: '3', expires: at(300) };
  await withFront(
    { commands: asCommands(...commands), callers, values: { 'enforce.post.requests.and.timestamps': 'true' } },
    async ({ url }) => {
      assert.equal(await signed(url, 'GET', 'listThings', fresh), 200);
      assert.equal(await signed(url, 'GET', 'quotaSummary', fresh), 200);
      assert.equal(await signed(url, 'GET', 'makeThing', fresh), 400);
      assert.equal(await signed(url, 'POST', 'makeThing', fresh), 200);
      assert.equal(await signed(url, 'GET', 'listThings'), 400);
      assert.equal(await signed(url, 'GET', 'listThings', { signatureversion: '3', expires: at(1000) }), 400);
      assert.equal(await signed(url, 'GET', 'listThings', { signatureversion: '3', expires: at(-5) }), 401);
    },
  );
  await withFront({ commands: asCommands(...commands), callers }, async ({ url }) => {
    assert.equal(await signed(url, 'GET', 'makeThing'), 200);
    assert.equal(await signed(url, 'GET', 'makeThing', { signatureversion: '3', expires: at(1_000_000) }), 200);
  });
});

test('what was done is told as done, also when its event could not be written', async () => {
  let made = 0;
  const make = command({
    name: 'makeThing',
    about: 'Makes a thing.',
    access: 'user',
    event: { type: 'THING.MAKE', text: 'making a thing' },
    params: {},
    reply: reply.success(),
    run: async () => void (made += 1),
  });
  const secret = 'Sec-ret';
  const callers = { byApiKey: async () => ({ caller: ADMIN, secretKey: new Secret(secret) }), byUserId: async () => null };
  const gone = Object.assign(new Error('gone'), { code: 'PROTOCOL_CONNECTION_LOST' });
  const db = { read: { findOneBy: async () => null }, transact: () => Promise.reject(gone) } as unknown as Database;
  await withFront({ commands: asCommands(make), callers, services: { db } }, async ({ url }) => {
    const pairs = Object.entries({ command: 'makeThing', response: 'json', apiKey: 'k' });
    const query = new URLSearchParams([...pairs, ['signature', sign(stringToSign(pairs, 'raw'), secret)]]);
    assert.equal((await fetch(`${url}?${query}`, { method: 'POST' })).status, 200);
    assert.equal(made, 1);
  });
});
