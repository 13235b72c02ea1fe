import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { newId } from '../../../protocol/ids.ts';
import { serialLogs } from './serial-logs.ts';

const room = await mkdtemp(join(tmpdir(), 'nephos-serial-'));
after(() => rm(room, { recursive: true, force: true }));

test('the tail is bounded, spans a turned-over file, and is empty for a machine that never spoke', async () => {
  const logs = serialLogs(room);
  const machine = newId('machine');
  assert.equal(await logs.tail(machine), '');
  await logs.begin(machine);
  await writeFile(logs.path(machine), 'first run\n');
  await logs.begin(machine);
  await writeFile(logs.path(machine), 'second run\n');
  assert.equal(await logs.tail(machine), 'first run\nsecond run\n');
  await writeFile(logs.path(machine), Buffer.alloc(200_000, 'x'));
  assert.equal((await logs.tail(machine)).length, 65_536);
  await writeFile(logs.path(machine), Buffer.alloc(200_000, 0xff));
  assert.ok((await logs.tail(machine)).length <= 65_536);
});

test('files of running machines are cut, files of machines long gone are removed', async () => {
  const logs = serialLogs(room);
  const [running, ended, old] = [newId('machine'), newId('machine'), newId('machine')];
  for (const machine of [running, ended, old]) await writeFile(logs.path(machine), Buffer.alloc(5 * 1024 * 1024, 'x'));
  const then = new Date(Date.now() - 8 * 24 * 3600 * 1000);
  await utimes(logs.path(old), then, then);
  await logs.sweep(new Set([running]));
  const left = await readdir(room);
  assert.ok(left.includes(`${running}.log.0`));
  assert.ok(left.includes(`${ended}.log`));
  assert.ok(!left.includes(`${old}.log`));
  assert.equal((await logs.tail(running)).length, 65_536);
});

test('what a machine said is told of by its id and removed whole, the file that was turned over too', async () => {
  const logs = serialLogs(await mkdtemp(join(room, 'forget-')));
  const [gone, other] = [newId('machine'), newId('machine')];
  for (const machine of [gone, other]) {
    await logs.begin(machine);
    await writeFile(logs.path(machine), 'one\n');
    await logs.begin(machine);
    await writeFile(logs.path(machine), 'two\n');
  }
  assert.deepEqual((await logs.machines()).sort(), [gone, other].sort());
  await logs.remove(gone);
  assert.deepEqual(await logs.machines(), [other]);
  assert.equal(await logs.tail(gone), '');
  assert.equal(await logs.tail(other), 'one\ntwo\n');
});
