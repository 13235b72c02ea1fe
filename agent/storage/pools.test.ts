import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { newId } from '../../protocol/ids.ts';
import { createLog } from '../../protocol/log.ts';
import type { PoolSpec } from '../../protocol/messages/storage.ts';
import type { Fetch } from '../fetch.ts';
import type { ImageRequest } from '../hypervisors/hypervisor.ts';
import { run } from '../processes.ts';
import { type LocalPools, localPools, type PoolUse } from './pools.ts';
import { readQcow2Header } from './qcow2.ts';

const room = await mkdtemp(join(tmpdir(), 'nephos-pools-'));
after(() => rm(room, { recursive: true, force: true }));
const { signal } = new AbortController();
const MIB = 1024 ** 2;

const image = join(room, 'source.qcow2');
await run('make an image', 'qemu-img', ['create', '-q', '-f', 'qcow2', '--', image, '64M']);
const imageBytes = await readFile(image);
const sha256 = createHash('sha256').update(imageBytes).digest('hex');

let hosts = 0;
function host({ bytes = imageBytes, use = {} }: { bytes?: Buffer; use?: Partial<PoolUse> } = {}) {
  hosts += 1;
  const stateDirectory = join(room, `host${hosts}`);
  let fetches = 0;
  const fetch: Fetch = async ({ path, partPath, mode }) => {
    fetches += 1;
    await writeFile(partPath, bytes);
    await chmod(partPath, mode);
    await rename(partPath, path);
  };
  const make = (): LocalPools =>
    localPools({
      hostId: newId('host'),
      stateDirectory,
      fetch,
      owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
      inUse: { pool: async () => false, volume: async () => false, ...use },
      log: createLog('test', { level: 'silent' }),
    });
  return { pools: make(), again: make, stateDirectory, fetches: () => fetches };
}
const directory = async (): Promise<string> => {
  const path = join(room, `pool-${newId('storagePool')}`);
  await mkdir(path);
  return path;
};
const shared = async (): Promise<PoolSpec> => ({
  id: newId('storagePool'),
  type: 'SharedMountPoint',
  path: await directory(),
  server: null,
});
const request = (pool: PoolSpec): ImageRequest => ({
  poolId: pool.id,
  imageId: newId('template'),
  url: 'https://198.18.0.40:8210/images/x',
  sha256,
  format: 'qcow2',
});

test('an image is fetched once, kept read-only, and is there for every host that shares the pool', async () => {
  const pool = await shared();
  const one = host();
  const other = host();
  for (const { pools } of [one, other]) await pools.attach(pool);
  const asked = request(pool);
  const answers = await Promise.all([one, other, one].map(({ pools }) => pools.ensureImage(asked, signal)));
  for (const answer of answers) assert.deepEqual(answer, { sizeBytes: imageBytes.length, virtualSizeBytes: 64 * MIB });
  assert.equal(one.fetches() + other.fetches(), 1);
  assert.deepEqual(await readdir(join(pool.path, 'images')), [`${asked.imageId}.qcow2`]);
  assert.equal((await stat(join(pool.path, 'images', `${asked.imageId}.qcow2`))).mode & 0o777, 0o444);
});

test('a volume is an overlay of at least the asked size, made once, whoever asks', async () => {
  const pool = await shared();
  const one = host();
  const other = host();
  for (const { pools } of [one, other]) await pools.attach(pool);
  const asked = request(pool);
  await one.pools.ensureImage(asked, signal);
  const volume = { poolId: pool.id, volumeId: newId('volume'), sizeBytes: 100 * MIB, imageId: asked.imageId };
  const answers = await Promise.all([one, other, one, other].map(({ pools }) => pools.createVolume(volume)));
  for (const answer of answers) assert.deepEqual(answer, { sizeBytes: 100 * MIB });
  const path = join(pool.path, 'volumes', `${volume.volumeId}.qcow2`);
  const first = await stat(path);
  assert.equal(first.mode & 0o777, 0o600);
  // An existing volume is kept as it is, even when another size is asked for.
  assert.deepEqual(await other.pools.createVolume({ ...volume, sizeBytes: 500 * MIB }), { sizeBytes: 100 * MIB });
  assert.equal((await stat(path)).ino, first.ino);
  assert.deepEqual(await one.pools.createVolume({ ...volume, volumeId: newId('volume'), sizeBytes: 1 }), { sizeBytes: 64 * MIB });

  assert.deepEqual(await other.pools.disk(pool.id, volume.volumeId), {
    path,
    backingPath: join(pool.path, 'images', `${asked.imageId}.qcow2`),
    cache: (await one.pools.disk(pool.id, volume.volumeId)).cache,
  });
  const checked: unknown = JSON.parse(
    await run('check', 'qemu-img', ['info', '--output=json', '-f', 'qcow2', '--backing-chain', '--', path]),
  );
  assert.equal(Array.isArray(checked) && checked.length, 2);

  await assert.rejects(one.pools.removeImage(pool.id, asked.imageId), { code: 'InUse' });
  const listed = await one.pools.list(pool.id);
  assert.equal(listed.volumes.length, 2);
  assert.deepEqual(listed.images, [asked.imageId]);
  for (const volumeId of listed.volumes) for (const { pools } of [one, other]) await pools.removeVolume(pool.id, volumeId);
  for (const { pools } of [one, other]) await pools.removeImage(pool.id, asked.imageId);
  assert.deepEqual(await readdir(join(pool.path, 'images')), []);
  assert.deepEqual(await readdir(join(pool.path, 'volumes')), []);
});

test('a volume without an image stands alone; one on an image that is not there is refused', async () => {
  const pool = await shared();
  const { pools } = host();
  await pools.attach(pool);
  const volumeId = newId('volume');
  assert.deepEqual(await pools.createVolume({ poolId: pool.id, volumeId, sizeBytes: 10 * MIB, imageId: null }), { sizeBytes: 10 * MIB });
  assert.equal((await pools.disk(pool.id, volumeId)).backingPath, null);
  const missing = { poolId: pool.id, volumeId: newId('volume'), sizeBytes: MIB, imageId: newId('template') };
  await assert.rejects(pools.createVolume(missing), { code: 'NotFound' });
  assert.deepEqual((await pools.list(pool.id)).volumes, [volumeId]);
});

test('an image that refers to another file is refused and nothing stays', async () => {
  const hostile = join(room, 'hostile.qcow2');
  await run('make an image', 'qemu-img', ['create', '-q', '-f', 'qcow2', '-u', '-b', '/etc/shadow', '-F', 'raw', '--', hostile, '1M']);
  const dataFile = join(room, 'data.qcow2');
  const args = ['-o', `data_file=${join(room, 'data.raw')},data_file_raw=on`];
  await run('make an image', 'qemu-img', ['create', '-q', '-f', 'qcow2', ...args, '--', dataFile, '1M']);
  for (const bytes of [
    await readFile(hostile),
    await readFile(dataFile),
    Buffer.alloc(100),
    Buffer.from('QFI\xfb', 'latin1'),
    Buffer.alloc(0),
  ]) {
    const pool = await shared();
    const { pools } = host({ bytes });
    await pools.attach(pool);
    await assert.rejects(pools.ensureImage(request(pool), signal), { code: 'ResourceUnavailable' });
    assert.deepEqual(await readdir(join(pool.path, 'images')), []);
  }
});

test('a volume whose header points outside its pool is never given to a machine', async () => {
  const pool = await shared();
  const { pools } = host();
  await pools.attach(pool);
  for (const backing of ['/etc/shadow', '../images/../../x.qcow2', 'json:{"driver":"file"}', `../images/${newId('template')}.qcow2/..`]) {
    const volumeId = newId('volume');
    const path = join(pool.path, 'volumes', `${volumeId}.qcow2`);
    await run('make a volume', 'qemu-img', ['create', '-q', '-f', 'qcow2', '-u', '-b', backing, '-F', 'raw', '--', path, '1M']);
    await assert.rejects(pools.disk(pool.id, volumeId), { code: 'ResourceUnavailable' });
  }
});

test('random headers never do more than be refused', async () => {
  const path = join(room, 'random.qcow2');
  let seed = 11;
  for (let round = 0; round < 500; round += 1) {
    const bytes = Buffer.from(imageBytes.subarray(0, 512));
    for (let changes = 0; changes < 4; changes += 1) {
      seed = (seed * 48_271) % 2_147_483_647;
      bytes[seed % 112] = (seed >> 8) & 0xff;
    }
    await writeFile(path, bytes);
    const read = await readQcow2Header(path).catch((error: unknown) => error);
    assert.ok(read instanceof Error ? 'code' in read && read.code === 'ResourceUnavailable' : true, String(read));
  }
});

test('what was attached is known after the agent was restarted, and a detached pool is not', async () => {
  const pool = await shared();
  const gone = await shared();
  const { pools, again } = host();
  for (const spec of [pool, pool, gone]) await pools.attach(spec);
  const volumeId = newId('volume');
  await pools.createVolume({ poolId: pool.id, volumeId, sizeBytes: MIB, imageId: null });
  for (let twice = 0; twice < 2; twice += 1) await pools.detach(gone.id);
  const restarted = again();
  await restarted.restore();
  assert.deepEqual((await restarted.list(pool.id)).volumes, [volumeId]);
  await assert.rejects(restarted.measure(gone.id), { code: 'NotFound' });
  const { totalBytes, usedBytes } = await restarted.measure(pool.id);
  assert.ok(totalBytes > usedBytes && usedBytes > 0);
});

test('what a running machine uses is not taken away', async () => {
  const pool = await shared();
  const { pools } = host({ use: { pool: async () => true, volume: async () => true } });
  await pools.attach(pool);
  const volumeId = newId('volume');
  await pools.createVolume({ poolId: pool.id, volumeId, sizeBytes: MIB, imageId: null });
  await assert.rejects(pools.removeVolume(pool.id, volumeId), { code: 'InUse' });
  await assert.rejects(pools.detach(pool.id), { code: 'InUse' });
  assert.deepEqual((await pools.list(pool.id)).volumes, [volumeId]);
});

test('bad places are refused: missing mount points, paths with dots, files in the way', async () => {
  const { pools } = host();
  const id = newId('storagePool');
  await assert.rejects(pools.attach({ id, type: 'SharedMountPoint', path: join(room, 'not-mounted'), server: null }), {
    code: 'ResourceUnavailable',
  });
  for (const path of [`${room}/../etc`, `${room}/./x`, '//']) {
    await assert.rejects(pools.attach({ id, type: 'Filesystem', path, server: null }), { code: 'InvalidParameter' });
  }
  await assert.rejects(pools.attach({ id, type: 'Filesystem', path: join(image, 'below'), server: null }), { code: 'ResourceUnavailable' });
  await assert.rejects(pools.attach({ id, type: 'NetworkFilesystem', path: '/export', server: null }), { code: 'InvalidParameter' });
  await assert.rejects(pools.measure(id), { code: 'NotFound' });
});

test('temporary files of a crash are removed after a week', async () => {
  const pool = await shared();
  const { pools } = host();
  await pools.attach(pool);
  const old = join(pool.path, 'volumes', '.left.new');
  const young = join(pool.path, 'volumes', '.now.new');
  for (const path of [old, young]) await writeFile(path, '');
  const file = await open(old);
  const then = new Date(Date.now() - 8 * 24 * 3600 * 1000);
  await file.utimes(then, then);
  await file.close();
  await pools.attach(pool);
  assert.deepEqual(await readdir(join(pool.path, 'volumes')), ['.now.new']);
});
