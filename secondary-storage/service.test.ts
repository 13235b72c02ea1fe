import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { CloudError } from '../protocol/errors.ts';
import { newId } from '../protocol/ids.ts';
import { createLog } from '../protocol/log.ts';
import type { Message } from '../protocol/message.ts';
import {
  ApplySecondaryStorage,
  DownloadImage,
  MeasureStore,
  RemoveStoredImage,
  type SecondaryStorageConfiguration,
} from '../protocol/messages/image.ts';
import type { Id, Infer } from '../protocol/schema.ts';
import { type FileServer, type FileServerOptions, startFileServer } from './download/file-server.testing.ts';
import { CANARY, goodImages, hostileImages, qemuImg, smallIso } from './inspect/images.testing.ts';
import { openSecondaryStorage, type SecondaryStorage, type SecondaryStorageOptions } from './service.ts';

const MIB = 1024 * 1024;
type Answer = Infer<typeof DownloadImage.answer>;
type Order = Infer<typeof DownloadImage.ask>;

interface Running {
  readonly storage: SecondaryStorage;
  readonly ask: <Q, A>(message: Message<Q, A>, body: Q) => Promise<A>;
  readonly download: (url: string, over?: Partial<Order>) => Promise<Answer>;
  readonly rings: () => number;
}
interface World {
  readonly folder: string;
  readonly store: string;
  readonly storeId: Id<'imageStore'>;
  /** Starts a secondary storage VM's program; another one is its successor. */
  readonly start: (over?: Partial<SecondaryStorageConfiguration>, options?: Partial<SecondaryStorageOptions>) => Promise<Running>;
  readonly serve: (options: FileServerOptions) => Promise<FileServer>;
  readonly left: () => Promise<string[]>;
}

async function makeWorld(context: TestContext): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-service-'));
  const store = join(folder, 'store');
  const storeId = newId('imageStore');
  const cleanUps: (() => Promise<unknown>)[] = [];
  context.after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp();
    await rm(folder, { recursive: true, force: true });
  });
  return {
    folder,
    store,
    storeId,
    start: async (over = {}, options = {}) => {
      let rings = 0;
      const storage = openSecondaryStorage({
        log: createLog('secondary-storage', { level: 'silent' }),
        ring: () => {
          rings += 1;
        },
        mountFolder: join(folder, 'mounts'),
        run: async () => '',
        delaysSeconds: [0.01, 0.01],
        ...options,
      });
      cleanUps.push(storage.close);
      const ask: Running['ask'] = async (message, body) => {
        const handler = storage.handlers.find(({ name }) => name === message.name);
        assert.ok(handler, message.name);
        return message.answer.parse(await handler.handle(body, { requestId: 'test', signal: new AbortController().signal }));
      };
      await ask(ApplySecondaryStorage, {
        generation: 1,
        stores: [{ id: storeId, provider: 'Directory', server: null, path: store, nfsVersion: null }],
        allowedInternalCidrs: ['127.0.0.1/32'],
        ownCidrs: [],
        proxyUrl: null,
        downloadsMax: 4,
        removedHostIds: [],
        ...over,
      });
      const download: Running['download'] = (url, wanted = {}) =>
        ask(DownloadImage, {
          storeId,
          imageId: newId('template'),
          url,
          format: 'QCOW2',
          checksum: null,
          sizeBytesMax: 64 * MIB,
          ...wanted,
        });
      return { storage, ask, download, rings: () => rings };
    },
    serve: async (options) => {
      const server = await startFileServer(options);
      cleanUps.push(server.close);
      return server;
    },
    left: () => readdir(join(store, 'template')).catch(() => []),
  };
}

const refusedWith =
  (expected: RegExp, code = 'InvalidParameter') =>
  (error: unknown): boolean => {
    assert.ok(error instanceof CloudError, String(error));
    assert.match(error.message, expected);
    assert.equal(error.code, code);
    return true;
  };
const digest = (algorithm: string, bytes: Buffer): string => createHash(algorithm).update(bytes).digest('hex');
async function goodImage(folder: string, name: string): Promise<Buffer> {
  const image = (await goodImages(join(folder, 'good'))).find((one) => one.name === name);
  assert.ok(image);
  return readFile(image.path);
}

test('SS-01 a template is downloaded, checked, converted and laid into the store', async (context) => {
  const world = await makeWorld(context);
  const content = await goodImage(world.folder, 'qcow2');
  const server = await world.serve({ content });
  const { download, storage, rings } = await world.start();
  const imageId = newId('template');
  const order = { imageId, checksum: `{SHA-256}${digest('sha256', content)}` };
  const answer = await download(server.url, order);
  assert.equal(answer.downloadedBytes, content.length);
  assert.equal(answer.virtualSizeBytes, 8 * MIB);
  assert.equal(answer.checksum, `{SHA-512}${digest('sha512', content)}`);

  assert.deepEqual(await world.left(), [imageId]);
  const folder = join(world.store, 'template', imageId);
  assert.deepEqual((await readdir(folder)).sort(), ['image.json', 'image.qcow2']);
  const image = await readFile(join(folder, 'image.qcow2'));
  assert.equal(image.length, answer.sizeBytes);
  assert.equal(digest('sha256', image), answer.sha256);
  await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', join(world.folder, 'good', 'disk'), join(folder, 'image.qcow2'));
  assert.deepEqual(await storage.beat(), { secondaryStorage: { activeCommands: 0, downloads: [] } });
  await sleep(1100);
  assert.ok(rings() >= 1 && rings() <= 3, `${rings()} rings`);

  await server.close();
  assert.deepEqual(await download('http://127.0.0.1:1/gone', order), answer, 'a finished one is answered at once');
  const successor = await world.start();
  assert.deepEqual(await successor.download('http://127.0.0.1:1/gone', order), answer, 'by a successor too');
});

test('asks for the same image share one download, and the beat shows how far it is', async (context) => {
  const world = await makeWorld(context);
  const content = await goodImage(world.folder, 'qcow2');
  let release = (): void => undefined;
  const server = await world.serve({
    answer: (_request, response) => {
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 1000));
      release = () => void response.end(content.subarray(1000));
      return true;
    },
  });
  const { download, storage } = await world.start();
  const imageId = newId('template');
  const asked = [download(server.url, { imageId }), download(server.url, { imageId })];
  for (let tries = 0; tries < 100 && (await storage.beat()).secondaryStorage?.downloads[0]?.receivedBytes !== 1000; tries += 1)
    await sleep(10);
  assert.deepEqual(await storage.beat(), {
    secondaryStorage: {
      activeCommands: 2,
      downloads: [{ imageId, receivedBytes: 1000, totalBytes: content.length, phase: 'downloading' }],
    },
  });
  asked.push(download(server.url, { imageId }));
  release();
  const answers = await Promise.all(asked);
  assert.deepEqual(answers[1], answers[0]);
  assert.deepEqual(answers[2], answers[0]);
  assert.equal(server.requests.length, 1);
});

test('no more downloads run at a time than allowed', async (context) => {
  const world = await makeWorld(context);
  const content = await goodImage(world.folder, 'qcow2');
  let running = 0;
  let most = 0;
  const server = await world.serve({
    answer: (_request, response) => {
      running += 1;
      most = Math.max(most, running);
      response.writeHead(200, { 'content-length': content.length });
      setTimeout(() => {
        running -= 1;
        response.end(content);
      }, 50);
      return true;
    },
  });
  const { download } = await world.start({ downloadsMax: 2 });
  await Promise.all(Array.from({ length: 5 }, () => download(server.url)));
  assert.equal(most, 2);
});

test('images in gzip are unpacked, ISOs are kept as they are', async (context) => {
  const world = await makeWorld(context);
  const raw = await goodImage(world.folder, 'raw');
  const { download } = await world.start();
  const packed = gzipSync(raw);
  const unpacked = await download((await world.serve({ content: packed })).url, { format: 'RAW', checksum: digest('md5', packed) });
  assert.deepEqual([unpacked.downloadedBytes, unpacked.virtualSizeBytes], [packed.length, raw.length]);
  const imageId = newId('template');
  const iso = smallIso();
  const kept = await download((await world.serve({ content: iso })).url, { format: 'ISO', imageId });
  assert.deepEqual([kept.sizeBytes, kept.virtualSizeBytes, kept.sha256], [iso.length, iso.length, digest('sha256', iso)]);
  assert.ok((await readFile(join(world.store, 'template', imageId, 'image.iso'))).equals(iso));
  const nested = gzipSync(gzipSync(raw));
  await assert.rejects(
    download((await world.serve({ content: nested })).url, { format: 'RAW' }),
    refusedWith(/declared as RAW but is gzip/),
  );
});

test('threat class 2: every hostile image is refused through the front door, and nothing is left', async (context) => {
  const world = await makeWorld(context);
  const canary = join(world.folder, 'canary');
  await writeFile(canary, CANARY.padEnd(8 * MIB, '.'));
  const images = await hostileImages(join(world.folder, 'hostile'), canary);
  let content: Buffer = Buffer.alloc(0);
  const server = await world.serve({
    answer: (_request, response) => !!response.writeHead(200, { 'content-length': content.length }).end(content),
  });
  const { download } = await world.start();
  for (const { name, format, path, expected } of images) {
    content = await readFile(path);
    await assert.rejects(download(server.url, { format }), refusedWith(expected), name);
    assert.deepEqual(await world.left(), [], name);
  }
});

test('SS-09 what is not what it was said to be is refused with the reason, and nothing is left', async (context) => {
  const world = await makeWorld(context);
  const content = await goodImage(world.folder, 'qcow2');
  const server = await world.serve({ content });
  const { download } = await world.start();
  const wrong = digest('sha256', Buffer.from('x'));
  await assert.rejects(
    download(server.url, { checksum: wrong }),
    refusedWith(new RegExp(`SHA-256 checksum is ${digest('sha256', content)}, not ${wrong}`)),
  );
  await assert.rejects(download(server.url, { checksum: 'nonsense' }), refusedWith(/the checksum must be hexadecimal/));
  await assert.rejects(download(server.url, { sizeBytesMax: 1000 }), refusedWith(/at most 1000 bytes are allowed/));
  await assert.rejects(download(server.url, { sizeBytesMax: 4 * MIB }), refusedWith(/the disk in the image has 8388608 bytes/));
  const missing = await world.serve({ answer: (_request, response) => !!response.writeHead(404).end() });
  await assert.rejects(download(missing.url), refusedWith(/has no such file/));
  const internal = await world.serve({
    answer: (_request, response) => !!response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end(),
  });
  await assert.rejects(download(internal.url), refusedWith(/169\.254\.169\.254 is a link-local address/));
  await assert.rejects(download('http://10.0.0.1/image'), refusedWith(/10\.0\.0\.1 is a private address/));
  await assert.rejects(download('file:///etc/passwd'), refusedWith(/not of http or https but of file/));
  const bomb = await world.serve({ content: gzipSync(Buffer.alloc(200 * MIB)) });
  await assert.rejects(download(bomb.url, { format: 'RAW' }), refusedWith(/the unpacked file has more than/));
  assert.deepEqual(await world.left(), []);
});

test('SS-09 a download that the network has broken is kept, and a successor goes on', async (context) => {
  const world = await makeWorld(context);
  const content = Buffer.concat([await goodImage(world.folder, 'raw'), randomBytes(2 * MIB)]);
  const half = 5 * MIB;
  let broken = true;
  const server = await world.serve({
    content,
    cuts: [half],
    answer: (_request, response, index) => index > 0 && broken && !!response.writeHead(502).end(),
  });
  const imageId = newId('template');
  const order = { imageId, format: 'RAW' as const, checksum: digest('sha512', content) };
  const first = await world.start();
  await assert.rejects(first.download(server.url, order), refusedWith(/cannot serve the file now \(status 502\)/, 'Unreachable'));
  assert.deepEqual(await world.left(), [`${imageId}.part`]);
  await first.storage.close();
  // What was on its way when the link broke may be lost; what is kept is what counts, and that it is not little.
  const kept = join(world.store, 'template', `${imageId}.part`, 'download.json');
  const { savedBytes: keptBytes } = JSON.parse(await readFile(kept, 'utf8'));
  assert.ok(keptBytes >= MIB && keptBytes <= half, `${keptBytes} B are kept`);

  broken = false;
  const successor = await world.start();
  const answer = await successor.download(server.url, order);
  assert.equal(server.requests.at(-1)?.headers.range, `bytes=${keptBytes}-`);
  assert.equal(answer.checksum, `{SHA-512}${digest('sha512', content)}`);
  assert.deepEqual(await world.left(), [imageId]);
});

test('SS-09 a secondary storage VM that stops in the midst of a download leaves it to its successor', async (context) => {
  const world = await makeWorld(context);
  const content = await goodImage(world.folder, 'raw');
  const server = await world.serve({
    content,
    tag: '"t"',
    answer: (_request, response, index) => {
      if (index > 0) return false;
      response.writeHead(200, { 'content-length': content.length, etag: '"t"' });
      response.write(content.subarray(0, 3 * MIB));
      return true;
    },
  });
  const imageId = newId('template');
  const first = await world.start();
  const asked = assert.rejects(first.download(server.url, { imageId, format: 'RAW' }), refusedWith(/is stopping/, 'Unreachable'));
  for (
    let tries = 0;
    tries < 200 && ((await first.storage.beat()).secondaryStorage?.downloads[0]?.receivedBytes ?? 0) < 3 * MIB;
    tries += 1
  )
    await sleep(10);
  await first.storage.close();
  await asked;
  const successor = await world.start();
  const answer = await successor.download(server.url, { imageId, format: 'RAW' });
  assert.equal(answer.downloadedBytes, content.length);
});

test('an image is removed, also while it is being made', async (context) => {
  const world = await makeWorld(context);
  const content = await goodImage(world.folder, 'qcow2');
  const server = await world.serve({ content });
  const { ask, download } = await world.start();
  const imageId = newId('template');
  await download(server.url, { imageId });
  await ask(RemoveStoredImage, { storeId: world.storeId, imageId });
  assert.deepEqual(await world.left(), []);
  await ask(RemoveStoredImage, { storeId: world.storeId, imageId });

  const stuck = await world.serve({
    answer: (_request, response) => {
      response.writeHead(200).write(content.subarray(0, 1000));
      return true;
    },
  });
  const asked = assert.rejects(download(stuck.url, { imageId }), refusedWith(/was removed while it was being downloaded/, 'Conflict'));
  await sleep(50);
  await ask(RemoveStoredImage, { storeId: world.storeId, imageId });
  await asked;
  assert.deepEqual(await world.left(), []);
});

test('a half-written image is not taken for a whole one', async (context) => {
  const world = await makeWorld(context);
  const content = await goodImage(world.folder, 'qcow2');
  const server = await world.serve({ content });
  const { download } = await world.start();
  const imageId = newId('template');
  const answer = await download(server.url, { imageId });
  const image = join(world.store, 'template', imageId, 'image.qcow2');
  await writeFile(image, (await readFile(image)).subarray(0, 1000));
  // Its clusters are written in whatever order they are ready, so only their content is the same each time.
  const again = await download(server.url, { imageId });
  assert.equal(again.checksum, answer.checksum);
  assert.equal(digest('sha256', await readFile(image)), again.sha256);
  assert.equal(server.requests.length, 2);
});

test('what unfinished downloads left long ago is swept away', async (context) => {
  const world = await makeWorld(context);
  const [old, fresh] = [newId('template'), newId('template')];
  for (const imageId of [old, fresh]) await mkdir(join(world.store, 'template', `${imageId}.part`), { recursive: true });
  await mkdir(join(world.store, 'template', 'not-ours.part'));
  const long = new Date(Date.now() - 30 * 24 * 3600 * 1000);
  for (const name of [`${old}.part`, 'not-ours.part']) await utimes(join(world.store, 'template', name), long, long);
  await world.start();
  await sleep(100);
  assert.deepEqual((await world.left()).sort(), [`${fresh}.part`, 'not-ours.part'].sort());
});

test('threat class 12: the hosts that were removed are those that management told last', async (context) => {
  const world = await makeWorld(context);
  const [gone, back] = [newId('host'), newId('host')];
  const { ask, storage } = await world.start({ generation: 5, removedHostIds: [gone, back] });
  assert.deepEqual([gone, back, newId('host')].map(storage.isRemovedHost), [true, true, false]);
  const later = { generation: 6, stores: [], allowedInternalCidrs: [], ownCidrs: [], proxyUrl: null, downloadsMax: 1 };
  await ask(ApplySecondaryStorage, { ...later, removedHostIds: [gone] });
  assert.deepEqual([gone, back].map(storage.isRemovedHost), [true, false]);
});

test('stores are measured, unknown ones refused, older configurations ignored', async (context) => {
  const world = await makeWorld(context);
  const { ask } = await world.start({ generation: 5 });
  const { totalBytes, usedBytes } = await ask(MeasureStore, { storeId: world.storeId });
  assert.ok(totalBytes > usedBytes && usedBytes > 0);
  await assert.rejects(ask(MeasureStore, { storeId: newId('imageStore') }), refusedWith(/was not told of that store/, 'NotFound'));
  const older = { generation: 4, stores: [], allowedInternalCidrs: [], ownCidrs: [], proxyUrl: null, downloadsMax: 1, removedHostIds: [] };
  assert.deepEqual(await ask(ApplySecondaryStorage, older), { generation: 5 });
  await ask(MeasureStore, { storeId: world.storeId });
  await assert.rejects(
    ask(ApplySecondaryStorage, { ...older, generation: 6, proxyUrl: 'socks://x' }),
    refusedWith(/the proxy for downloads must be an http URL/),
  );
});
