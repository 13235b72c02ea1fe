import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { CloudError } from '../../protocol/errors.ts';
import { type FileServer, type FileServerOptions, startFileServer } from './file-server.testing.ts';
import { type Retrieved, type RetrieveOptions, retrieve } from './retrieve.ts';
import { unpack } from './unpack.ts';

const content = randomBytes(3_000_000);
const sha512 = (bytes: Buffer): string => createHash('sha512').update(bytes).digest('hex');
const DELAYS = [0.01, 0.01, 0.01];

async function setUp(
  context: TestContext,
  serving: FileServerOptions = {},
): Promise<{ server: FileServer; folder: string; fetch: (over?: Partial<RetrieveOptions>) => Promise<Retrieved> }> {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-retrieve-'));
  const server = await startFileServer({ content, ...serving });
  context.after(async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });
  return {
    server,
    folder,
    fetch: (over = {}) =>
      retrieve({
        url: server.url,
        folder,
        sizeBytesMax: 10_000_000,
        algorithms: ['sha512', 'md5'],
        source: { rules: { allowedInternalCidrs: ['127.0.0.0/8'], ownCidrs: [] }, proxyUrl: null, silenceSeconds: 1 },
        signal: new AbortController().signal,
        freeBytes: async () => 1e12,
        onProgress: () => undefined,
        owner: 'first',
        delaysSeconds: DELAYS,
        ...over,
      }),
  };
}

test('SS-01 a file arrives as it is, with its digests and its progress', async (context) => {
  const { fetch, server } = await setUp(context);
  const progress: [number, number | null][] = [];
  const got = await fetch({ onProgress: (received, total) => void progress.push([received, total]) });
  assert.ok((await readFile(got.file)).equals(content));
  assert.equal(got.sizeBytes, content.length);
  assert.equal(got.digests['sha512'], sha512(content));
  assert.equal(got.digests['md5'], createHash('md5').update(content).digest('hex'));
  assert.deepEqual(progress[0], [0, content.length]);
  assert.deepEqual(progress.at(-1), [content.length, content.length]);
  assert.ok(progress.every(([received], index) => index === 0 || received >= (progress[index - 1]?.[0] ?? 0)));
  assert.equal(server.requests[0]?.headers['accept-encoding'], 'identity');
});

test('SS-09 a connection that breaks again and again is resumed where it broke', async (context) => {
  const { fetch, server } = await setUp(context, { cuts: [1_000_000, 700_001, 1, 999_999] });
  const got = await fetch({ slowest: { bytes: 100_000, seconds: 60 } });
  assert.equal(got.digests['sha512'], sha512(content));
  assert.ok((await readFile(got.file)).equals(content));
  assert.equal(server.requests.length, 5);
  assert.equal(server.requests[0]?.headers.range, undefined);
  assert.match(server.requests[1]?.headers.range ?? '', /^bytes=[1-9]\d*-$/);
  assert.equal(server.requests[1]?.headers['if-range'], server.requests[4]?.headers['if-range']);
});

test('SS-09 it gives up after tries without a byte, keeps what it has, and a successor goes on from there', async (context) => {
  const { fetch, server, folder } = await setUp(context, {
    cuts: [1_500_000],
    answer: (_request, response, index) => index > 0 && index < 4 && !!response.writeHead(503).end(),
  });
  await assert.rejects(fetch(), (error) => error instanceof CloudError && error.code === 'Unreachable' && /status 503/.test(error.message));
  assert.equal(server.requests.length, 4, 'the first try and three without a byte');
  const kept = (await stat(join(folder, 'download'))).size;
  assert.ok(kept > 1_000_000);
  assert.ok(!(await readFile(join(folder, 'download.json'), 'utf8')).includes(server.url), 'a URL may hold a password');

  const got = await fetch({ owner: 'successor' });
  assert.equal(server.requests.length, 5);
  assert.equal(server.requests[4]?.headers.range, `bytes=${kept}-`);
  assert.equal(got.digests['sha512'], sha512(content));
  assert.ok((await readFile(got.file)).equals(content));
});

test('a successor trusts only what was surely written', async (context) => {
  const { fetch, server, folder } = await setUp(context, {
    cuts: [1_500_000],
    answer: (_request, response, index) => index > 0 && index < 4 && !!response.writeHead(503).end(),
  });
  await assert.rejects(fetch());
  const sidecar = JSON.parse(await readFile(join(folder, 'download.json'), 'utf8'));
  await writeFile(join(folder, 'download.json'), JSON.stringify({ ...sidecar, savedBytes: 1_000_000 }));
  // What a machine that died may leave: a file that is long enough, with a hole.
  await writeFile(join(folder, 'download'), Buffer.concat([content.subarray(0, 1_000_000), Buffer.alloc(800_000)]));
  const got = await fetch({ owner: 'successor' });
  assert.equal(server.requests[4]?.headers.range, 'bytes=1000000-');
  assert.ok((await readFile(got.file)).equals(content));
});

test('another file behind the URL is fetched from its beginning', async (context) => {
  const next = randomBytes(2_000_000);
  let served = content;
  const { fetch, server } = await setUp(context, {
    answer: (request, response, index) => {
      const tag = served === content ? '"old"' : '"new"';
      const first = request.headers['if-range'] === tag ? Number(/\d+/.exec(request.headers.range ?? '')?.[0] ?? 0) : 0;
      response.writeHead(first > 0 ? 206 : 200, { etag: tag, 'content-length': served.length - first });
      if (index > 0) response.end(served.subarray(first));
      else
        response.write(served.subarray(0, 1_000_000), () => {
          served = next;
          setTimeout(() => response.socket?.destroy(), 20);
        });
      return true;
    },
  });
  const got = await fetch();
  assert.match(server.requests[1]?.headers.range ?? '', /^bytes=/);
  assert.ok((await readFile(got.file)).equals(next));
  assert.equal(got.digests['sha512'], sha512(next));
  assert.equal(got.sizeBytes, next.length);
});

test('without a tag or a date, or from a server without ranges, it starts again', async (context) => {
  const untagged = await setUp(context, { tag: null, cuts: [1_000_000] });
  assert.ok((await readFile((await untagged.fetch()).file)).equals(content));
  assert.equal(untagged.server.requests[1]?.headers.range, undefined);
  const weak = await setUp(context, { tag: 'W/"weak"', cuts: [1_000_000] });
  assert.ok((await readFile((await weak.fetch()).file)).equals(content));
  assert.equal(weak.server.requests[1]?.headers.range, undefined, 'a weak tag is no promise of equal bytes');
  const rangeless = await setUp(context, { ranges: false, cuts: [1_000_000] });
  assert.ok((await readFile((await rangeless.fetch()).file)).equals(content));
});

test('a server that resumes elsewhere is not believed', async (context) => {
  const { fetch } = await setUp(context, {
    cuts: [1_000_000],
    answer: (request, response, index) => {
      if (index !== 1) return false;
      const first = Number(/\d+/.exec(request.headers.range ?? '')?.[0]);
      response.writeHead(206, { 'content-range': `bytes ${first - 10}-${content.length - 1}/${content.length}` });
      response.end(content.subarray(first - 10));
      return true;
    },
  });
  assert.ok((await readFile((await fetch()).file)).equals(content));
});

test('threat class 11: a size above the limit is refused before and during', async (context) => {
  const { fetch, folder } = await setUp(context);
  await assert.rejects(fetch({ sizeBytesMax: 2_000_000 }), /the file has 3 MiB; at most 2 MiB are allowed/);
  assert.equal((await stat(join(folder, 'download'))).size, 0, 'not a byte of the body was written');

  let sent = 0;
  const endless = await setUp(context, {
    answer: (_request, response) => {
      response.writeHead(200);
      const more = (): void => {
        while (!response.destroyed && response.write(content)) sent += content.length;
        response.once('drain', more);
      };
      more();
      return true;
    },
  });
  await assert.rejects(endless.fetch({ sizeBytesMax: 5_000_000 }), /the file has more than the 5 MiB that are allowed/);
  assert.ok((await stat(join(endless.folder, 'download'))).size <= 5_000_000);
  assert.ok(sent < 60_000_000);
});

test('a file that does not fit into the store is refused', async (context) => {
  const { fetch } = await setUp(context);
  await assert.rejects(
    fetch({ freeBytes: async () => 1000 }),
    (error) =>
      error instanceof CloudError &&
      error.code === 'InsufficientStorage' &&
      /the secondary storage has 1000 bytes left/.test(error.message),
  );
});

test('SS-09 what cannot get better is refused at once, with the reason', async (context) => {
  const cases: readonly (readonly [number, RegExp])[] = [
    [404, /has no such file \(status 404\)/],
    [410, /has no such file \(status 410\)/],
    [403, /denies access to the file \(status 403\)/],
    [401, /denies access to the file \(status 401\)/],
    [204, /answers with status 204/],
  ];
  for (const [status, expected] of cases) {
    const { fetch, server } = await setUp(context, { answer: (_request, response) => !!response.writeHead(status).end() });
    await assert.rejects(
      fetch(),
      (error) => error instanceof CloudError && error.code === 'InvalidParameter' && expected.test(error.message),
    );
    assert.equal(server.requests.length, 1);
  }
  const empty = await setUp(context, { content: Buffer.alloc(0) });
  await assert.rejects(empty.fetch(), /the file is empty/);
  const packed = await setUp(context, {
    answer: (_request, response) => !!response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(content)),
  });
  await assert.rejects(packed.fetch(), /sends the file encoded as gzip/);
});

test('a server that falls silent in the midst is left and asked again', async (context) => {
  const { fetch, server } = await setUp(context, {
    answer: (_request, response, index) => {
      if (index > 0) return false;
      response.writeHead(200, { 'content-length': content.length, etag: '"x"' });
      response.write(content.subarray(0, 100_000));
      return true;
    },
    tag: '"x"',
  });
  assert.equal((await fetch()).digests['sha512'], sha512(content));
  assert.equal(server.requests.length, 2);
});

test('threat class 11: a server that drips, or breaks off after a few bytes each time, holds no place for ever', async (context) => {
  const dripping = await setUp(context, {
    answer: (_request, response) => {
      response.writeHead(200, { 'content-length': content.length, etag: '"drip"' });
      const drip = setInterval(() => response.write('.'), 10);
      response.once('close', () => clearInterval(drip));
      return true;
    },
  });
  const slowest = { bytes: 10_000, seconds: 0.2 };
  await assert.rejects(dripping.fetch({ slowest }), { code: 'Unreachable', message: /sends next to nothing/ });
  assert.equal(dripping.server.requests.length, DELAYS.length);

  const breaking = await setUp(context, { cuts: Array.from({ length: 100 }, () => 100) });
  await assert.rejects(breaking.fetch({ slowest }), { code: 'Unreachable', message: /broke/ });
  assert.equal(breaking.server.requests.length, DELAYS.length);
});

test('a download that another machine has taken over is left alone', async (context) => {
  const { fetch, folder } = await setUp(context, {
    answer: (_request, response) => {
      response.writeHead(200, { etag: '"x"' });
      let sent = 0;
      const timer = setInterval(() => {
        response.write(content.subarray(sent, sent + 10_000));
        sent += 10_000;
      }, 5);
      response.on('close', () => clearInterval(timer));
      return true;
    },
  });
  const first = fetch({ checkpointBytes: 100_000 });
  const outcome = assert.rejects(first, (error) => error instanceof CloudError && error.code === 'Conflict');
  await new Promise((resolve) => setTimeout(resolve, 150));
  const sidecar = JSON.parse(await readFile(join(folder, 'download.json'), 'utf8'));
  await writeFile(join(folder, 'download.json'), JSON.stringify({ ...sidecar, owner: 'successor' }));
  await outcome;
  assert.equal(JSON.parse(await readFile(join(folder, 'download.json'), 'utf8')).owner, 'successor');
});

test('an abort ends it at once', async (context) => {
  const { fetch } = await setUp(context, { answer: () => true });
  const abort = new AbortController();
  const got = fetch({ signal: abort.signal });
  setTimeout(() => abort.abort(new CloudError('Conflict', 'the image was removed')), 50);
  await assert.rejects(got, /the image was removed/);
});

test('threat class 11: gzip is undone, and a bomb is stopped', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-unpack-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'file');
  const { signal } = new AbortController();
  const holey = Buffer.concat([Buffer.alloc(5_000_000), randomBytes(100_000), Buffer.alloc(2_000_000)]);
  await writeFile(path, gzipSync(holey));
  assert.equal(await unpack(path, 10_000_000, signal), true);
  assert.ok((await readFile(path)).equals(holey));
  assert.equal(await unpack(path, 10_000_000, signal), false, 'what is not packed stays as it is');
  assert.ok((await readFile(path)).equals(holey));

  await writeFile(path, Buffer.concat([gzipSync(Buffer.from('one ')), gzipSync(Buffer.from('two'))]));
  await unpack(path, 100, signal);
  assert.equal(await readFile(path, 'utf8'), 'one two');

  await writeFile(path, gzipSync(Buffer.alloc(200_000_000)));
  assert.ok((await stat(path)).size < 1_000_000);
  await assert.rejects(unpack(path, 20_000_000, signal), /the unpacked file has more than the 20000000 bytes that are allowed/);
  assert.ok((await stat(`${path}.unpacked`)).blocks * 512 < 1_000_000, 'zeros take no space');

  const cut = gzipSync(content).subarray(0, 100_000);
  await writeFile(path, cut);
  await assert.rejects(unpack(path, 10_000_000, signal), /damaged gzip/);
});
