import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { newId } from '../protocol/ids.ts';
import { clientTls, type LinkIdentity } from '../protocol/link/identity.ts';
import { createLog } from '../protocol/log.ts';
import { testAuthority } from './certificates.testing.ts';
import { type ImageServer, openImageServer, parseRange } from './serve-images.ts';

const authority = testAuthority();
const content = randomBytes(3_000_000);
const sha256 = createHash('sha256').update(content).digest('hex');
const imageId = newId('template');
const host = authority.identity('host');
const removed = new Set<string>();
let own: LinkIdentity | null = null;
let folder: string;
let server: ImageServer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nephos-images-'));
  const place = join(folder, 'template', imageId);
  await mkdir(place, { recursive: true });
  await writeFile(join(place, 'image.qcow2'), content);
  const description = { version: '1', imageId, format: 'QCOW2', fileName: 'image.qcow2', downloadedBytes: 1, sizeBytes: content.length };
  await writeFile(join(place, 'image.json'), JSON.stringify({ ...description, virtualSizeBytes: 1, sha256, checksum: '{SHA-512}00' }));
  await mkdir(join(folder, 'template', `${newId('template')}.part`));
  server = openImageServer({
    log: createLog('images', { level: 'silent' }),
    identity: () => own,
    folders: () => [folder],
    isRemovedHost: (id) => removed.has(id),
    port: 0,
  });
});
after(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}
function get(
  path: string,
  {
    identity = host,
    headers = {},
    method = 'GET',
    tls = {},
  }: { identity?: LinkIdentity; headers?: Record<string, string>; method?: string; tls?: object } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port: server.port(),
        path,
        method,
        headers,
        agent: false,
        ...clientTls(identity, { kind: 'secondary-storage' }),
        // Made from the identity, it would take the place of another key and certificate.
        ...('cert' in tls ? { secureContext: undefined } : {}),
        ...tls,
      },
      async (response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of response) chunks.push(chunk);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      },
    );
    asked.on('error', reject).end();
  });
}

test('nothing is served before there is a certificate', async () => {
  await server.refresh();
  assert.equal(server.port(), null);
  own = authority.identity('secondary-storage');
  await server.refresh();
  assert.notEqual(server.port(), null);
});

test('SS-01 a host gets an image, whole and in ranges', async () => {
  const whole = await get(`/images/${imageId}`);
  assert.equal(whole.status, 200);
  assert.ok(whole.body.equals(content));
  assert.equal(whole.headers.etag, `"${sha256}"`);
  const part = await get(`/images/${imageId}`, { headers: { range: 'bytes=1000-1999' } });
  assert.equal(part.status, 206);
  assert.equal(part.headers['content-range'], `bytes 1000-1999/${content.length}`);
  assert.ok(part.body.equals(content.subarray(1000, 2000)));
  const rest = await get(`/images/${imageId}`, { headers: { range: 'bytes=2999990-', 'if-range': `"${sha256}"` } });
  assert.ok(rest.body.equals(content.subarray(2_999_990)));
  const changed = await get(`/images/${imageId}`, { headers: { range: 'bytes=2999990-', 'if-range': '"other"' } });
  assert.deepEqual([changed.status, changed.body.length], [200, content.length]);
  const beyond = await get(`/images/${imageId}`, { headers: { range: 'bytes=3000000-' } });
  assert.deepEqual([beyond.status, beyond.headers['content-range']], [416, `bytes */${content.length}`]);
  const head = await get(`/images/${imageId}`, { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, String(content.length), 0]);
});

test('threat class 1: nobody but a host of this cloud gets anything', async () => {
  for (const kind of ['router', 'console-proxy', 'secondary-storage'] as const)
    assert.equal((await get(`/images/${imageId}`, { identity: authority.identity(kind) })).status, 403, kind);
  const nothing = { cert: undefined, key: undefined };
  await assert.rejects(get(`/images/${imageId}`, { tls: nothing }), /ECONNRESET|alert|socket hang up/i);
  const stranger = testAuthority().identity('host');
  await assert.rejects(
    get(`/images/${imageId}`, { tls: { key: stranger.keyPem, cert: stranger.certificatePem } }),
    /ECONNRESET|alert|socket hang up/i,
  );
  const expired = authority.issue({ uri: `nephos://host/${host.id}` }, { expired: true });
  await assert.rejects(get(`/images/${imageId}`, { tls: { key: expired.key, cert: expired.cert } }), /ECONNRESET|alert|socket hang up/i);
});

test('threat class 12: a host that was removed gets nothing with the certificate it still has', async () => {
  const former = authority.identity('host');
  assert.equal((await get(`/images/${imageId}`, { identity: former })).status, 200);
  removed.add(former.id);
  const { status, body } = await get(`/images/${imageId}`, { identity: former });
  assert.deepEqual([status, body.length], [403, 0]);
  assert.equal((await get(`/images/${imageId}`)).status, 200, 'the others do as before');
});

test('what is not an image is not there', async () => {
  const paths = [
    '/',
    '/images/',
    `/images/${newId('template')}`,
    `/images/${imageId}/image.json`,
    '/images/..%2f..',
    `/images/${imageId}.part`,
  ];
  for (const path of paths) assert.equal((await get(path)).status, 404, path);
  assert.equal((await get(`/images/${imageId}`, { method: 'PUT' })).status, 405);
});

test('a renewed certificate is used without a break', async () => {
  const before = server.port();
  own = authority.identity('secondary-storage');
  await server.refresh();
  assert.equal(server.port(), before);
  assert.equal((await get(`/images/${imageId}`, { headers: { range: 'bytes=0-0' } })).body.length, 1);
});

test('ranges are read by the rules', () => {
  assert.equal(parseRange(undefined, 100), null);
  assert.deepEqual(parseRange('bytes=0-', 100), { first: 0, last: 99 });
  assert.deepEqual(parseRange('bytes=-10', 100), { first: 90, last: 99 });
  assert.deepEqual(parseRange('bytes=-1000', 100), { first: 0, last: 99 });
  assert.deepEqual(parseRange('bytes=50-500', 100), { first: 50, last: 99 });
  assert.equal(parseRange('bytes=100-', 100), 'none');
  assert.equal(parseRange('bytes=-0', 100), 'none');
  for (const header of ['bytes=5-4', 'bytes=0-1,3-4', 'bytes=-', 'lines=0-1', 'bytes=a-b'])
    assert.equal(parseRange(header, 100), null, header);
});
