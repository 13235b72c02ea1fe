import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { withSharedLock } from './shared-lock.ts';

const room = await mkdtemp(join(tmpdir(), 'nephos-lock-'));
after(() => rm(room, { recursive: true, force: true }));
const timing = { beatSeconds: 0.05, staleSeconds: 0.4, pollSeconds: 0.02 };
const { signal } = new AbortController();

test('of many that come at once one works, the others find it done', async () => {
  const path = join(room, 'one.lock');
  let works = 0;
  let isDone = false;
  const contender = (): Promise<void> =>
    withSharedLock(
      path,
      {
        signal,
        done: async () => isDone,
        work: async () => {
          works += 1;
          // Longer than staleness, so a living lock must be seen to live.
          await wait(900);
          isDone = true;
        },
      },
      timing,
    );
  await Promise.all(Array.from({ length: 8 }, contender));
  assert.equal(works, 1);
  assert.deepEqual(await readdir(room), []);
});

test('the lock of a dead holder is taken over, by one', async () => {
  const path = join(room, 'dead.lock');
  await writeFile(path, 'somebody who is gone');
  let inside = 0;
  let works = 0;
  const work = async (): Promise<void> => {
    inside += 1;
    assert.equal(inside, 1, 'two at once');
    await wait(30);
    inside -= 1;
    works += 1;
  };
  const begun = performance.now();
  await Promise.all([1, 2, 3].map(() => withSharedLock(path, { signal, done: async () => false, work }, timing)));
  assert.ok(performance.now() - begun >= 400);
  assert.equal(works, 3);
  assert.deepEqual(await readdir(room), []);
});

test('work that fails gives the lock back; whoever gives up waiting leaves it', async () => {
  const path = join(room, 'fail.lock');
  const failing = async (): Promise<void> => {
    throw new Error('no');
  };
  await assert.rejects(withSharedLock(path, { signal, done: async () => false, work: failing }, timing), /no/);
  assert.deepEqual(await readdir(room), []);
  await writeFile(path, 'somebody');
  await assert.rejects(withSharedLock(path, { signal: AbortSignal.timeout(50), done: async () => false, work: async () => {} }, timing));
  assert.deepEqual(await readdir(room), ['fail.lock']);
});
