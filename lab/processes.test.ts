import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeTextWhole } from './files.ts';
import { withLock } from './lock.ts';
import { identify, isAlive, parseProcessStat, signal } from './pids.ts';
import { type BackgroundProcess, processOf, processStatus, startProcess, stopProcess } from './processes.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nephos-processes-'));
});
after(() => rm(directory, { recursive: true, force: true }));

const sleeper = (name: string, over: Partial<BackgroundProcess> = {}): BackgroundProcess => ({
  name,
  pidFile: join(directory, `${name}.pid`),
  logFile: join(directory, `${name}.log`),
  file: 'sleep',
  args: ['60'],
  ready: async () => true,
  readyTimeoutSeconds: 5,
  ...over,
});

test('a process stat line is read although the name holds blanks and brackets', () => {
  const fields = Array.from({ length: 50 }, (_, index) => String(index));
  fields[0] = 'S';
  fields[1] = '17';
  fields[19] = '4711';
  assert.deepEqual(parseProcessStat(`12 (evil) S) ${fields.join(' ')}`), { state: 'S', parentPid: 17, startTicks: 4711 });
  assert.equal(parseProcessStat('12 (short) S 1'), null);
  assert.equal(parseProcessStat(''), null);
});

test('an identity stands for one process, not for whoever has its number later', async () => {
  const me = await identify(process.pid);
  assert.ok(me !== null);
  assert.equal(await isAlive(me), true);
  assert.equal(await isAlive({ ...me, startTicks: me.startTicks - 1 }), false);
  assert.equal(await isAlive({ ...me, bootId: 'another boot' }), false);
});

test('a signal to a stale identity reaches nobody', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const real = await identify(child.pid ?? 0);
  assert.ok(real !== null);
  assert.equal(await signal({ ...real, startTicks: real.startTicks + 1 }, 'SIGKILL'), false);
  assert.equal(await isAlive(real), true);
  child.kill('SIGKILL');
});

test('a process is started once, survives a second start, and ends once', async () => {
  const spec = sleeper('once');
  const first = await startProcess(spec);
  const second = await startProcess(spec);
  assert.equal(first.startedNow, true);
  assert.equal(second.startedNow, false);
  assert.deepEqual(second.identity, first.identity);
  assert.equal(await processStatus(spec.pidFile), 'running');
  assert.equal(await stopProcess({ name: 'once', pidFile: spec.pidFile, graceSeconds: 5 }), true);
  assert.equal(await isAlive(first.identity), false);
  assert.equal(await stopProcess({ name: 'once', pidFile: spec.pidFile, graceSeconds: 5 }), false);
  await assert.rejects(stat(spec.pidFile));
});

test('a pid file that names a process of somebody else kills nothing', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const other = await identify(child.pid ?? 0);
  assert.ok(other !== null);
  const pidFile = join(directory, 'reused.pid');
  await writeFile(pidFile, JSON.stringify({ ...other, startTicks: other.startTicks - 100 }));
  assert.equal(await processOf(pidFile), null);
  assert.equal(await stopProcess({ name: 'reused', pidFile, graceSeconds: 1 }), false);
  assert.equal(await isAlive(other), true);
  child.kill('SIGKILL');
});

test('a process whose pid file was lost is found by its mark and not started twice', async () => {
  const spec = sleeper('lost');
  const { identity } = await startProcess(spec);
  await rm(spec.pidFile);
  const again = await startProcess(spec);
  assert.notEqual(again.identity.pid, identity.pid);
  assert.equal(await isAlive(identity), false);
  await stopProcess({ name: 'lost', pidFile: spec.pidFile, graceSeconds: 5 });
  assert.equal(await isAlive(again.identity), false);
});

test('one that ends early is an error that names the log and shows its end', async () => {
  const spec = sleeper('early', { file: 'cat', args: ['/nonexistent/reason'], ready: async () => false });
  await assert.rejects(startProcess(spec), { code: 'Unavailable', message: /early .*its log is .*early\.log/ });
  assert.match(await readFile(spec.logFile, 'utf8'), /nonexistent/);
});

test('one that is not there is an error, not a crash', async () => {
  await assert.rejects(startProcess(sleeper('absent', { file: '/nonexistent/program' })), { code: 'Unavailable' });
});

test('one that never gets ready is stopped again', async () => {
  const spec = sleeper('never', { ready: async () => false, readyTimeoutSeconds: 0.3 });
  await assert.rejects(startProcess(spec), { code: 'Unavailable', message: /not ready within 0\.3 s/ });
  assert.equal(await processStatus(spec.pidFile), 'stopped');
});

test('one that ignores the request to end is killed', async () => {
  const spec = sleeper('stubborn', {
    file: process.execPath,
    args: ['-e', 'process.on("SIGTERM", () => console.log("no")); console.log("on"); setInterval(() => {}, 1000)'],
  });
  const { identity } = await startProcess({ ...spec, ready: async () => (await readFile(spec.logFile, 'utf8')).includes('on') });
  assert.equal(await stopProcess({ name: 'stubborn', pidFile: spec.pidFile, graceSeconds: 0.3 }), true);
  assert.equal(await isAlive(identity), false);
});

test('a lock admits one at a time, and is free after its holder was killed', async () => {
  const path = join(directory, 'lock');
  let inside = 0;
  let insideMax = 0;
  await Promise.all(
    Array.from({ length: 5 }, () =>
      withLock(path, { timeoutSeconds: 10, about: 'a test' }, async () => {
        insideMax = Math.max(insideMax, ++inside);
        await sleep(5);
        inside--;
      }),
    ),
  );
  assert.equal(insideMax, 1);
  await withLock(path, { timeoutSeconds: 1, about: 'a test' }, () =>
    assert.rejects(
      withLock(path, { timeoutSeconds: 0.1, about: 'a test' }, async () => undefined),
      { code: 'Conflict' },
    ),
  );
  const holder = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      '--input-type=module',
      '-e',
      `import { withLock } from '${new URL('./lock.ts', import.meta.url).pathname}'; await withLock(${JSON.stringify(path)}, { timeoutSeconds: 1, about: 'x' }, () => new Promise(() => { console.log('in'); setInterval(() => {}, 1000); }));`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], cwd: new URL('..', import.meta.url).pathname },
  );
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  holder.kill('SIGKILL');
  assert.equal(await withLock(path, { timeoutSeconds: 5, about: 'a test' }, async () => 'free'), 'free');
});

test('a file written whole has its mode from the start and leaves nothing beside it', async () => {
  const path = join(directory, 'secret');
  await writeTextWhole(path, 'word', 0o600);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal(await readFile(path, 'utf8'), 'word');
});
