import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CloudError } from '../../protocol/errors.ts';
import { memoryImageFile, withImageFile } from './image-file.ts';
import { CANARY, goodImages, hostileImages } from './images.testing.ts';
import { inspectImage } from './index.ts';

const MIB = 1024 * 1024;
const LIMIT = 64 * MIB;
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nephos-inspect-'));
});
after(() => rm(folder, { recursive: true, force: true }));

test('images of every accepted kind pass, with their size', async () => {
  for (const { name, format, path } of await goodImages(join(folder, 'good'))) {
    const { virtualSizeBytes } = await withImageFile(path, (file) => inspectImage(file, format, LIMIT));
    if (format === 'ISO') assert.equal(virtualSizeBytes, 40 * 2048);
    // QEMU rounds a VHD's size to what cylinders, heads and sectors can express.
    else assert.ok(virtualSizeBytes >= 8 * MIB && virtualSizeBytes < 9 * MIB, `${name}: ${virtualSizeBytes}`);
  }
});

test('threat class 2: every hostile image is refused with its reason', async () => {
  const canary = join(folder, 'canary');
  await writeFile(canary, CANARY.padEnd(8 * MIB, '.'));
  const images = await hostileImages(join(folder, 'hostile'), canary);
  assert.ok(images.length > 60);
  for (const { name, format, path, expected } of images)
    await assert.rejects(
      withImageFile(path, (file) => inspectImage(file, format, LIMIT)),
      (error) => {
        assert.ok(error instanceof CloudError, `${name}: ${error}`);
        assert.equal(error.code, 'InvalidParameter', name);
        assert.match(error.message, expected, name);
        assert.ok(!error.message.includes(canary), name);
        return true;
      },
      name,
    );
});

test('a good image declared as something else is refused', async () => {
  const images = await goodImages(join(folder, 'good'));
  const formats = ['QCOW2', 'RAW', 'VHD', 'VHDX', 'VMDK', 'ISO', 'OVA'] as const;
  for (const { name, format: real, path } of images)
    for (const format of formats.filter((one) => one !== real))
      await assert.rejects(
        withImageFile(path, (file) => inspectImage(file, format, LIMIT)),
        (error) => error instanceof CloudError && error.code === 'InvalidParameter',
        `${name} as ${format}`,
      );
});

test('threat class 2: whatever is changed in an image, the answer is a size or a refusal, and quick', async () => {
  // The same numbers in every run.
  let seed = 20260101;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const values = [0, 1, 0x7f, 0x80, 0xff];
  const started = Date.now();
  let refused = 0;
  let accepted = 0;
  for (const { name, format, path } of await goodImages(join(folder, 'good'))) {
    const whole = await readFile(path);
    // Headers stand at the beginning and the end; large bodies would only make this slow.
    const bytes = whole.length > 3 * MIB ? Buffer.concat([whole.subarray(0, 2 * MIB), whole.subarray(whole.length - 64 * 1024)]) : whole;
    const places = [64, 512, 1536, 4096, 64 * 1024, 320 * 1024, bytes.length].filter((place) => place <= bytes.length);
    for (let round = 0; round < 150; round += 1) {
      const mutant = Buffer.from(bytes);
      for (let change = 0; change <= random(6); change += 1) {
        const place = random(places[random(places.length)] ?? 64);
        const value = random(2) === 0 ? (values[random(values.length)] ?? 0) : random(256);
        mutant.fill(value, place, place + (random(4) === 0 ? 8 : 1));
      }
      const cut = random(10) === 0 ? mutant.subarray(0, random(mutant.length)) : mutant;
      try {
        const { virtualSizeBytes } = await inspectImage(memoryImageFile(cut), format, LIMIT);
        assert.ok(virtualSizeBytes > 0 && virtualSizeBytes <= LIMIT);
        accepted += 1;
      } catch (error) {
        assert.ok(error instanceof CloudError && error.code === 'InvalidParameter', `${name}, round ${round}: ${error}`);
        refused += 1;
      }
    }
  }
  assert.ok(accepted > 100 && refused > 100, `${accepted} accepted, ${refused} refused`);
  assert.ok(Date.now() - started < 60_000);
});
