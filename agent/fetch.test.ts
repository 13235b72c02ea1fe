import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { newId } from '../protocol/ids.ts';
import { type LinkIdentity, serverTls } from '../protocol/link/identity.ts';
import { bootFiles } from './boot-files.ts';
import { openAuthority } from './certificates.testing.ts';
import { type FetchRequest, fetchFrom, sourceOf } from './fetch.ts';

const room = await mkdtemp(join(tmpdir(), 'nephos-fetch-'));
const servers: Server[] = [];
after(async () => {
  for (const server of servers) server.close();
  await rm(room, { recursive: true, force: true });
});

const cloud = await openAuthority(join(room, 'cloud'));
const [hostIdentity, storageIdentity, managementIdentity] = await Promise.all(
  (['host', 'secondary-storage', 'management'] as const).map((kind) => cloud.sign(kind)),
);
assert.ok(hostIdentity && storageIdentity && managementIdentity);
const identity = hostIdentity;

async function serve(as: LinkIdentity, answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(serverTls(as), answer);
  server.on('tlsClientError', () => {});
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const bytes = randomBytes(3_000_000);
const sha256 = createHash('sha256').update(bytes).digest('hex');
const quick = { attemptsMax: 4, idleSeconds: 1, retrySeconds: 0.01 };
const fetch = fetchFrom(() => identity, quick);
const wanted = (url: string, more: Partial<FetchRequest> = {}): FetchRequest & { name: string } => {
  const name = newId('file');
  const { signal } = new AbortController();
  return { url, sha256, path: join(room, name), partPath: join(room, `${name}.part`), mode: 0o444, signal, name, ...more };
};
const rest = (request: IncomingMessage): number => Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
const send = (response: ServerResponse, from: number, to = bytes.length): void => {
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': bytes.length - from,
    ...(from > 0 ? { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {}),
  });
  if (to === bytes.length) response.end(bytes.subarray(from));
  else response.write(bytes.subarray(from, to), () => response.destroy());
};

test('a transfer that breaks off goes on where it was', async () => {
  const offsets: number[] = [];
  const url = await serve(storageIdentity, (request, response) => {
    offsets.push(rest(request));
    send(response, rest(request), offsets.length < 3 ? rest(request) + 900_000 : bytes.length);
  });
  const file = wanted(`${url}/images/x`);
  await fetch(file);
  assert.deepEqual(await readFile(file.path), bytes);
  assert.equal((await stat(file.path)).mode & 0o777, 0o444);
  assert.equal(offsets.length, 3);
  assert.equal(offsets[0], 0);
  assert.ok((offsets[1] ?? 0) > 0 && (offsets[2] ?? 0) > (offsets[1] ?? 0));
});

test('a server that begins anew, and a part that was whole already', async () => {
  const url = await serve(managementIdentity, (_request, response) => send(response, 0));
  const file = wanted(`${url}/files/kernel-1`);
  await writeFile(file.partPath, 'something of an earlier time');
  await fetch(file);
  assert.deepEqual(await readFile(file.path), bytes);

  const refuses = await serve(managementIdentity, (_request, response) => {
    response.writeHead(416, { 'content-range': `bytes */${bytes.length}` });
    response.end();
  });
  const whole = wanted(`${refuses}/files/kernel-1`);
  await writeFile(whole.partPath, bytes);
  await fetch(whole);
  assert.deepEqual(await readFile(whole.path), bytes);
});

test('a file that is not the one asked for leaves nothing', async () => {
  const url = await serve(storageIdentity, (_request, response) => response.end(Buffer.alloc(1000)));
  const file = wanted(`${url}/images/x`);
  await assert.rejects(fetch(file), { code: 'ResourceUnavailable' });
  assert.deepEqual(
    (await readdir(room)).filter((name) => name.startsWith(file.name)),
    [],
  );
});

test('a server with the wrong kind of certificate, or of another cloud, is not listened to', async () => {
  let asked = 0;
  const answer = (_request: IncomingMessage, response: ServerResponse): void => {
    asked += 1;
    send(response, 0);
  };
  const storage = await serve(storageIdentity, answer);
  await assert.rejects(fetch(wanted(`${storage}/files/kernel-1`)), { code: 'Unauthenticated' });
  const foreign = await serve(await (await openAuthority(join(room, 'foreign'))).sign('secondary-storage'), answer);
  await assert.rejects(fetch(wanted(`${foreign}/images/x`)), { code: 'Unreachable' });
  assert.equal(asked, 0);
});

test('a silent server, a refusal, a redirect and a giving up end with their reasons', async () => {
  const silent = await serve(storageIdentity, () => {});
  await assert.rejects(fetchFrom(() => identity, { ...quick, attemptsMax: 1, idleSeconds: 0.2 })(wanted(`${silent}/images/x`)), {
    code: 'Unreachable',
  });
  for (const status of [404, 403, 302]) {
    const url = await serve(storageIdentity, (_request, response) => {
      response.writeHead(status, { location: 'https://169.254.169.254/images/x' });
      response.end();
    });
    await assert.rejects(fetch(wanted(`${url}/images/x`)), { code: 'ResourceUnavailable' });
  }
  await assert.rejects(fetch(wanted(`${silent}/images/x`, { signal: AbortSignal.timeout(100) })), { code: 'Timeout' });
  await assert.rejects(fetchFrom(() => null, quick)(wanted(`${silent}/images/x`)), { code: 'Unavailable' });
});

test('only https, only the two known places, no credentials', () => {
  for (const url of [
    'http://198.18.0.1/images/x',
    'file:///etc/shadow',
    'https://a:b@198.18.0.1/images/x',
    'https://198.18.0.1/other',
    'images',
    'https://198.18.0.1/x/../other/images/',
  ]) {
    assert.throws(() => sourceOf(url), { code: 'InvalidParameter' }, url);
  }
  assert.equal(sourceOf('https://198.18.0.1:8210/images/x').kind, 'secondary-storage');
  assert.equal(sourceOf('https://198.18.0.1:8250/files/kernel-1').kind, 'management');
});

test('boot files are fetched once, checked again by a new agent, and swept after a month', async () => {
  let requests = 0;
  const url = await serve(managementIdentity, (request, response) => {
    requests += 1;
    send(response, rest(request));
  });
  const directory = join(room, 'boot');
  const file = { name: 'kernel-1', url: `${url}/files/kernel-1`, sha256 };
  const { signal } = new AbortController();
  const first = bootFiles(directory, fetch);
  await assert.rejects(first.path('kernel-1'), { code: 'NotFound' });
  await Promise.all([first.ensure([file], signal), first.ensure([file, file], signal)]);
  assert.equal(requests, 1);
  assert.equal(await first.path('kernel-1'), join(directory, 'kernel-1'));
  await bootFiles(directory, fetch).ensure([file], signal);
  assert.equal(requests, 1);

  await rm(join(directory, 'kernel-1'));
  await writeFile(join(directory, 'kernel-1'), 'broken');
  await bootFiles(directory, fetch).ensure([file], signal);
  assert.equal(requests, 2);
  assert.deepEqual(await readFile(join(directory, 'kernel-1')), bytes);
  await first.sweep();
  assert.deepEqual(await readdir(directory), ['kernel-1']);
  await first.sweep(Date.now() + 31 * 24 * 3600 * 1000);
  assert.deepEqual(await readdir(directory), []);
});
