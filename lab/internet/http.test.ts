import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { request, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createInternetServer, parseRange } from './http.ts';
import { encodeDnsQuestion } from './machine.ts';

const content = Buffer.from(Array.from({ length: 5000 }, (_, index) => index % 251));
let directory = '';
let server: Server | null = null;
let origin = '';

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nephos-internet-'));
  await writeFile(join(directory, 'a.img'), content);
  await writeFile(join(directory, 'empty.img'), '');
  await writeFile(join(directory, '.hidden'), 'x');
  const listening = createInternetServer(directory);
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const address = listening.address();
  origin = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
});
after(async () => {
  server?.closeAllConnections();
  server?.close();
  await rm(directory, { recursive: true, force: true });
});

/** fetch would clean the path up before sending it. */
const rawStatus = (path: string): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const { port } = new URL(origin);
    request({ host: '127.0.0.1', port, path }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', reject)
      .end();
  });

test('ranges as the header says them', () => {
  assert.deepEqual(parseRange('bytes=0-0', 10), { first: 0, last: 0 });
  assert.deepEqual(parseRange('bytes=5-', 10), { first: 5, last: 9 });
  assert.deepEqual(parseRange('bytes=5-99', 10), { first: 5, last: 9 });
  assert.deepEqual(parseRange('bytes=-3', 10), { first: 7, last: 9 });
  assert.deepEqual(parseRange('bytes=-30', 10), { first: 0, last: 9 });
  assert.equal(parseRange('bytes=10-', 10), 'unsatisfiable');
  assert.equal(parseRange('bytes=-0', 10), 'unsatisfiable');
  for (const header of [undefined, 'bytes=', 'bytes=-', 'bytes=5-4', 'bytes=0-1,3-4', 'lines=1-2'])
    assert.equal(parseRange(header, 10), null);
});

test('an image is served whole, in part, and on from where it broke off', async () => {
  const whole = await fetch(`${origin}/images/a.img`);
  assert.equal(whole.status, 200);
  assert.equal(whole.headers.get('content-length'), '5000');
  assert.ok(Buffer.from(await whole.arrayBuffer()).equals(content));
  const etag = whole.headers.get('etag') ?? '';
  const rest = await fetch(`${origin}/images/a.img`, { headers: { range: 'bytes=4000-', 'if-range': etag } });
  assert.equal(rest.status, 206);
  assert.equal(rest.headers.get('content-range'), 'bytes 4000-4999/5000');
  assert.ok(Buffer.from(await rest.arrayBuffer()).equals(content.subarray(4000)));
  const changed = await fetch(`${origin}/images/a.img`, { headers: { range: 'bytes=4000-', 'if-range': '"other"' } });
  assert.equal(changed.status, 200);
  assert.equal((await changed.arrayBuffer()).byteLength, 5000);
  assert.equal((await fetch(`${origin}/images/a.img`, { headers: { range: 'bytes=5000-' } })).status, 416);
  assert.equal((await fetch(`${origin}/images/empty.img`)).headers.get('content-length'), '0');
  const head = await fetch(`${origin}/images/a.img`, { method: 'HEAD' });
  assert.equal(head.headers.get('content-length'), '5000');
});

test('a rate is kept', async () => {
  const startedAtMs = performance.now();
  const slow = await fetch(`${origin}/images/a.img?rate=10000`);
  assert.ok(Buffer.from(await slow.arrayBuffer()).equals(content));
  const seconds = (performance.now() - startedAtMs) / 1000;
  assert.ok(seconds > 0.35 && seconds < 2, `${seconds} s for 5000 bytes at 10000 a second`);
  assert.equal((await fetch(`${origin}/images/a.img?rate=0`)).status, 400);
});

test('nothing outside the folder is served', async () => {
  await symlink('/etc/passwd', join(directory, '.link'));
  for (const path of [
    '/images/../http.ts',
    '/images/..%2f..%2fetc%2fpasswd',
    '/images/.hidden',
    '/images/.link',
    '/etc/passwd',
    '/images/no.img',
  ])
    assert.equal(await rawStatus(path), 404, path);
  for (const path of ['http://[', '//']) assert.equal(await rawStatus(path), 400, path);
  assert.equal(await (await fetch(`${origin}/images/`)).text(), 'a.img\nempty.img\n');
  assert.equal((await fetch(`${origin}/images/a.img`, { method: 'DELETE' })).status, 405);
});

test('it tells who asks, and redirects wherever it is told', async () => {
  assert.equal(await (await fetch(`${origin}/source`)).text(), '127.0.0.1\n');
  const elsewhere = await fetch(`${origin}/redirect?to=${encodeURIComponent('http://169.254.169.254/x')}`, { redirect: 'manual' });
  assert.equal(elsewhere.status, 302);
  assert.equal(elsewhere.headers.get('location'), 'http://169.254.169.254/x');
  assert.equal((await fetch(`${origin}/redirect?to=${encodeURIComponent('/a\r\nset-cookie: b')}`, { redirect: 'manual' })).status, 400);
});

test('a DNS question over TCP carries its length and its labels', () => {
  const question = encodeDnsQuestion('www.internet.test');
  assert.equal(question.readUInt16BE(0), question.length - 2);
  assert.equal(question.subarray(14, 18).toString('latin1'), '\u0003www');
  assert.equal(question.subarray(-4).toString('hex'), '00010001');
});
