import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import test from 'node:test';
import { asCommands, command, reply } from './command.ts';
import { withFront } from './http.testing.ts';
import { p, required } from './params.ts';

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
