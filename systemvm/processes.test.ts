import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { CloudError } from '../protocol/errors.ts';
import { runCommand } from './commands.ts';
import { removeFileIfPresent, writeFileIfChanged } from './files.ts';
import { type Daemon, type Processes, processes } from './processes.ts';
import { bootStages } from './stages.ts';

const log = pino({ level: 'silent' });
const until = async (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> => {
  const deadline = Date.now() + 8000;
  while (!(await isSo())) {
    if (Date.now() > deadline) assert.fail(`not in time: ${what}`);
    await sleep(20);
  }
};
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe('daemons, files and stages of a system VM', { timeout: 60_000 }, () => {
  let folder: string;
  let daemons: Processes;
  const sleeper: Daemon = { name: 'sleeper', command: '/usr/bin/sleep', arguments: ['300'] };

  beforeEach(async () => {
    folder = await mkdtemp(`${tmpdir()}/nephos-daemons-`);
    daemons = processes({ runFolder: folder, log });
  });
  afterEach(async () => {
    await daemons.close();
    await rm(folder, { recursive: true, force: true });
  });

  test('a daemon runs, is started again when it was killed, and stays down when it is stopped', async () => {
    await daemons.start(sleeper);
    assert.equal(daemons.state('sleeper'), 'running');
    const first = daemons.pid('sleeper') ?? 0;
    await daemons.start(sleeper);
    assert.equal(daemons.pid('sleeper'), first, 'a second start of the same leaves it alone');
    process.kill(first, 'SIGKILL');
    await until('failed', () => daemons.state('sleeper') === 'failed');
    await until('running again', () => daemons.state('sleeper') === 'running');
    const second = daemons.pid('sleeper') ?? 0;
    assert.notEqual(second, first);
    await daemons.stop('sleeper');
    assert.equal(daemons.state('sleeper'), 'stopped');
    assert.equal(isAlive(second), false);
    await sleep(400);
    assert.equal(daemons.pid('sleeper'), null);
  });

  test('other arguments make a new process; a restart makes one at once', async () => {
    await daemons.start(sleeper);
    const first = daemons.pid('sleeper');
    await daemons.start({ ...sleeper, arguments: ['301'] });
    const second = daemons.pid('sleeper');
    assert.notEqual(second, first);
    await daemons.restart('sleeper');
    assert.notEqual(daemons.pid('sleeper'), second);
    assert.equal(daemons.state('sleeper'), 'running');
  });

  test('a daemon that cannot be started is failed, and is tried again ever more slowly', async () => {
    let starts = 0;
    const broken = `${folder}/broken`;
    await writeFile(broken, '#!/usr/bin/busybox sh\necho trying\nexit 3\n', { mode: 0o755 });
    await daemons.start({ name: 'broken', command: broken, arguments: [], onLine: () => starts++ });
    await until('failed', () => daemons.state('broken') === 'failed');
    await sleep(1800);
    // At 0, 0.2, 0.6 and 1.4 seconds.
    assert.ok(starts >= 3 && starts <= 5, `${starts} starts`);
    await daemons.start({ name: 'absent', command: '/nowhere/daemon', arguments: [] });
    await until('failed', () => daemons.state('absent') === 'failed');
  });

  test('what a predecessor left running makes room, and nothing else does', async () => {
    await daemons.start(sleeper);
    const orphan = daemons.pid('sleeper') ?? 0;
    await until('pid file', async () => (await readdir(`${folder}/pid`)).includes('sleeper'));
    const successor = processes({ runFolder: folder, log });
    await successor.start(sleeper);
    assert.equal(isAlive(orphan), false);
    await successor.close();

    const bystander = processes({ runFolder: `${folder}/other`, log });
    await bystander.start({ ...sleeper, command: '/usr/bin/tail', arguments: ['-f', '/dev/null'] });
    await writeFileIfChanged(`${folder}/pid/sleeper`, `${bystander.pid('sleeper')}\n`);
    const third = processes({ runFolder: folder, log });
    await third.start(sleeper);
    assert.equal(bystander.state('sleeper'), 'running', 'a pid that now belongs to another program is left alone');
    await third.close();
    await bystander.close();
  });

  test('a signal reaches the process', async () => {
    const lines: string[] = [];
    const script = 'trap "echo again" HUP; echo up; while :; do sleep 0.05; done';
    await daemons.start({
      name: 'listener',
      command: '/usr/bin/busybox',
      arguments: ['sh', '-c', script],
      onLine: (line) => lines.push(line),
    });
    await until('up', () => lines.includes('up'));
    assert.equal(daemons.signal('listener', 'SIGHUP'), true);
    await until('again', () => lines.includes('again'));
    assert.equal(daemons.signal('nobody', 'SIGHUP'), false);
  });

  test('a file is written only when content or mode differ, and is never half there', async () => {
    const path = `${folder}/deep/file`;
    assert.equal(await writeFileIfChanged(path, 'one'), true);
    const before = await stat(path);
    assert.equal(await writeFileIfChanged(path, 'one'), false);
    assert.equal((await stat(path)).ino, before.ino);
    assert.equal(await writeFileIfChanged(path, 'two', { mode: 0o600 }), true);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    await chmod(path, 0o644);
    assert.equal(await writeFileIfChanged(path, 'two', { mode: 0o600 }), true);
    assert.deepEqual(await readdir(`${folder}/deep`), ['file']);
    assert.equal(await removeFileIfPresent(path), true);
    assert.equal(await removeFileIfPresent(path), false);
  });

  test('SV-14: stages have times, stand on the console, and the one that failed says why', async () => {
    const consoleFile = `${folder}/console`;
    const stages = bootStages(consoleFile);
    stages.mark('agent');
    await stages.run('arguments', async () => undefined);
    await assert.rejects(
      stages.run('network', async () => {
        throw new CloudError('Internal', 'ip failed:\nno such device');
      }),
      /boot stage network failed: ip failed/,
    );
    assert.deepEqual(
      stages.list().map(({ stage, detail }) => [stage, detail]),
      [
        ['agent', ''],
        ['arguments', ''],
        ['network', 'failed: ip failed: no such device'],
      ],
    );
    await until('console', async () => (await readFile(consoleFile, 'utf8').catch(() => '')).includes('network'));
    assert.match(await readFile(consoleFile, 'utf8'), /NEPHOS-STAGE network \d+\.\d\d failed: ip failed: no such device\n/);
  });

  test('a command’s failure carries its last words, and one that hangs is ended', async () => {
    await assert.rejects(runCommand('ip', ['-batch', '-'], { input: 'link set dev nothing up\n' }), /ip failed: .*nothing/);
    const started = Date.now();
    await assert.rejects(runCommand('sleep', ['60'], { timeoutSeconds: 0.3 }), /sleep failed/);
    assert.ok(Date.now() - started < 3000);
    await assert.rejects(runCommand('no-such-program', []), /could not be run/);
    assert.equal(await runCommand('cat', ['--', '-'], { input: '$(id)' }), '$(id)');
  });
});
