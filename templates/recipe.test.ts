import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { builtOnce, recipeHash } from './recipe.ts';

const inFolder = async (work: (folder: string) => Promise<void>): Promise<void> => {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-recipe-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
};

test('the hash depends on what the recipe says, not on the order of its fields', () => {
  assert.equal(recipeHash({ a: 1, b: ['x', { c: null }] }), recipeHash({ b: ['x', { c: null }], a: 1 }));
  assert.notEqual(recipeHash({ a: ['x', 'y'] }), recipeHash({ a: ['y', 'x'] }));
  assert.match(recipeHash({}), /^[0-9a-f]{16}$/);
});

test('what is built once is found the second time', () =>
  inFolder(async (folder) => {
    let builds = 0;
    const build = async (part: string): Promise<void> => {
      builds += 1;
      await writeFile(join(part, 'disk'), 'x');
    };
    const first = await builtOnce(folder, 'h', build);
    assert.equal(await builtOnce(folder, 'h', build), first);
    assert.equal(builds, 1);
    assert.deepEqual(await readdir(first), ['disk']);
  }));

test('a build that fails leaves nothing, and the next one starts anew', () =>
  inFolder(async (folder) => {
    const broken = builtOnce(folder, 'h', async (part) => {
      await writeFile(join(part, 'half'), 'x');
      throw new Error('power cut');
    });
    await assert.rejects(broken, /power cut/);
    assert.deepEqual(await readdir(folder), []);
    await builtOnce(folder, 'h', (part) => writeFile(join(part, 'whole'), 'x'));
    assert.deepEqual(await readdir(join(folder, 'h')), ['whole']);
  }));

test('what a killed build left is removed, what another one is building stays', () =>
  inFolder(async (folder) => {
    // No process has the number of the largest possible one plus one.
    await mkdir(join(folder, '.building-4194305-old'));
    await mkdir(join(folder, `.building-${process.ppid}-other`));
    await builtOnce(folder, 'h', async () => {});
    assert.deepEqual((await readdir(folder)).sort(), [`.building-${process.ppid}-other`, 'h']);
  }));

test('two builds at the same time both get the one result', () =>
  inFolder(async (folder) => {
    const [first, second] = await Promise.all([
      builtOnce(folder, 'h', (part) => writeFile(join(part, 'disk'), '1')),
      builtOnce(folder, 'h2', (part) => writeFile(join(part, 'disk'), '2')),
    ]);
    assert.deepEqual(await readdir(folder), ['h', 'h2']);
    assert.notEqual(first, second);
  }));
