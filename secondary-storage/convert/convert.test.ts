import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CloudError } from '../../protocol/errors.ts';
import { CANARY, goodImages, hostileImages, qemuImg } from '../inspect/images.testing.ts';
import { convertImage, isConvertible } from './convert.ts';
import { runSandboxed, type SandboxOptions } from './sandbox.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;
let folder: string;
let canary: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nephos-convert-'));
  canary = join(folder, 'canary');
  await writeFile(canary, CANARY.padEnd(8 * MIB, '.'), { mode: 0o644 });
});
after(() => rm(folder, { recursive: true, force: true }));

const sandbox = (over: Partial<SandboxOptions> = {}): SandboxOptions => ({
  readable: {},
  writable: {},
  cpuSeconds: 10,
  memoryBytes: 512 * MIB,
  fileBytes: MIB,
  timeoutSeconds: 20,
  signal: never,
  ...over,
});

test('an image of every kind becomes our own, with the same content', async () => {
  const images = await goodImages(join(folder, 'good'));
  const target = join(folder, 'out');
  for (const { name, format, path } of images) {
    if (!isConvertible(format)) continue;
    const { sizeBytes, virtualSizeBytes } = await convertImage(path, format, target, 9 * MIB, never);
    assert.deepEqual(await readdir(target), ['image.qcow2']);
    const image = join(target, 'image.qcow2');
    assert.equal((await stat(image)).size, sizeBytes);
    assert.ok(virtualSizeBytes >= 8 * MIB && virtualSizeBytes < 9 * MIB, name);
    const head = await readFile(image);
    assert.equal(head.readUInt8(104), 1, 'compressed with zstd');
    await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', join(folder, 'good', 'disk'), image);
  }
});

test('threat class 2: even an image that was not inspected gets no file of this machine into the result', async () => {
  const target = join(folder, 'out');
  const images = (await hostileImages(join(folder, 'hostile'), canary)).filter(({ name }) => !name.includes('bomb'));
  for (const { name, format, path } of images) {
    if (!isConvertible(format)) continue;
    const outcome = await convertImage(path, format, target, 8 * MIB, never).catch((error: unknown) => error);
    if (outcome instanceof Error) assert.ok(outcome instanceof CloudError, `${name}: ${outcome}`);
    const image = join(target, 'image.qcow2');
    const made = await stat(image).catch(() => null);
    if (made === null) continue;
    const raw = join(folder, 'raw');
    await qemuImg('convert', '-f', 'qcow2', '-O', 'raw', image, raw).catch(() => undefined);
    assert.ok(!(await readFile(raw).catch(() => Buffer.alloc(0))).includes(CANARY), name);
    assert.ok(!(await readFile(image)).includes(CANARY), name);
    await rm(raw, { force: true });
  }
});

test('inside the sandbox there is no other file, no network and no privilege', async () => {
  assert.notEqual((await runSandboxed('cat', [canary], sandbox())).exitCode, 0);
  const seen = await runSandboxed('cat', ['/here'], sandbox({ readable: { '/here': canary } }));
  assert.ok(seen.output.startsWith(CANARY));
  assert.notEqual(
    (await runSandboxed('tee', ['/here'], sandbox({ readable: { '/here': canary } }))).exitCode,
    0,
    'readable is not writable',
  );
  assert.deepEqual((await runSandboxed('ls', ['/'], sandbox())).output.split('\n').sort().join(' ').trim(), 'dev lib lib64 usr');
  const links = await runSandboxed('ip', ['-o', 'link'], sandbox());
  assert.equal(links.output.trim().split('\n').length, 1);
  assert.match(links.output, /lo:/);
  assert.equal((await runSandboxed('id', ['-u'], sandbox())).output.trim(), '65534');
});

test('threat class 11: time, memory and space in the sandbox are bounded', async () => {
  const time = await runSandboxed('sha256sum', ['/dev/zero'], sandbox({ cpuSeconds: 1 }));
  assert.notEqual(time.exitCode, 0);
  const memory = await runSandboxed('dd', ['if=/dev/zero', 'of=/dev/null', 'bs=1G', 'count=1'], sandbox());
  assert.match(memory.complaint, /memory exhausted/);
  const target = join(folder, 'space');
  await writeFile(target, '');
  const space = await runSandboxed(
    'dd',
    ['if=/dev/zero', 'of=/target', 'bs=64k', 'count=100'],
    sandbox({ writable: { '/target': target } }),
  );
  assert.notEqual(space.exitCode, 0);
  assert.equal((await stat(target)).size, MIB);
  const started = Date.now();
  await runSandboxed('sleep', ['60'], sandbox({ timeoutSeconds: 0.3 }));
  const abort = new AbortController();
  setTimeout(() => abort.abort(new CloudError('Conflict', 'removed')), 200);
  await assert.rejects(runSandboxed('sleep', ['60'], sandbox({ signal: abort.signal })), /removed/);
  assert.ok(Date.now() - started < 5000);
});
