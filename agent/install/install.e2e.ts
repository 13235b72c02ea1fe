/**
 * Installs a simulated agent into a mount namespace of its own and takes it off again, with the real init script and supervisor. It needs root.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmod, mkdtemp, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { newId } from '../../protocol/ids.ts';
import { exists } from '../files.ts';
import { attempt, run } from '../processes.ts';
import { bundleAgent } from './bundle.ts';
import { installAgent, type RemoteShell, uninstallAgent } from './install.ts';
import { directories, places } from './places.ts';

export async function tryInstallation(): Promise<void> {
  const keeper = spawn('unshare', ['--mount', '--net', '--propagation', 'private', 'sleep', '600'], { stdio: 'ignore' });
  const exchange = await mkdtemp(join(tmpdir(), 'nephos-install-'));
  const madeMountPoint = !(await exists('/etc/nephos-agent'));
  await wait(200);
  const enter = ['--target', String(keeper.pid), '--mount', '--net', '--'];
  const ssh: RemoteShell = {
    exec: async (argv, { timeoutSeconds = 30 } = {}) => {
      // The machine's own first process may be systemd; the trial is of a host without it.
      if (argv.join(' ') === 'cat /proc/1/comm') return { code: 0, stdout: 'init\n', stderr: '' };
      return attempt('nsenter', [...enter, ...argv], { timeoutSeconds });
    },
    put: async (path, bytes, mode) => {
      const file = join(exchange, basename(path));
      await writeFile(file, bytes);
      await chmod(file, mode);
      await run('copy a file', 'nsenter', [...enter, 'cp', '--preserve=mode', '--', file, path]);
      await rm(file);
    },
  };
  const inside = (...argv: string[]): Promise<string> => run(argv.join(' '), 'nsenter', [...enter, ...argv]);
  const agentPids = async (): Promise<number[]> => {
    const { stdout } = await attempt('pgrep', ['-f', `${places.program} ${places.config}`]);
    return stdout.split('\n').filter(Boolean).map(Number);
  };
  try {
    for (const directory of ['/opt', '/etc/init.d', '/etc/nephos-agent', '/var/lib', '/var/log', '/run']) {
      await attempt('nsenter', [...enter, 'mkdir', '-p', '--', directory]);
      if ((await attempt('nsenter', [...enter, 'test', '-d', directory])).code === 0) {
        await inside('mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', directory);
      }
    }
    const installation = {
      id: newId('host'),
      servers: ['127.0.0.1:1'],
      join: { token: 'a-token-that-opens-nothing', caSha256: '0'.repeat(64) },
      driver: 'simulated',
      bundle: await bundleAgent(),
    } as const;
    const before = await agentPids();
    const own = async (): Promise<number[]> => (await agentPids()).filter((pid) => !before.includes(pid));

    for (let twice = 0; twice < 2; twice += 1) {
      assert.equal((await installAgent(ssh, installation)).service, 'init');
      await until('one agent', async () => (await own()).length === 1);
    }
    assert.equal((await inside('stat', '-c', '%a %U', '--', places.config)).trim(), '600 root');
    const ups = async (): Promise<number> => (await inside('cat', places.log)).split('the agent is up').length - 1;
    await until('the agent speaks', async () => (await ups()) >= 1);
    const upsBefore = await ups();
    assert.ok(!(await inside('cat', places.log)).includes(installation.join.token), 'the join token is in the log');

    const [killed] = await own();
    assert.ok(killed !== undefined);
    process.kill(killed, 'SIGKILL');
    await until('the supervisor starts another', async () => {
      const now = await own();
      return now.length === 1 && now[0] !== killed && (await ups()) > upsBefore;
    });
    await inside(places.initScript, 'status');
    await inside(places.initScript, 'stop');
    assert.deepEqual(await own(), []);
    assert.match(await inside('cat', places.log), /the agent ends/);
    assert.equal((await ssh.exec([places.initScript, 'status'])).code, 3);
    await inside(places.initScript, 'start');
    await until('the agent again', async () => (await own()).length === 1);

    for (let twice = 0; twice < 2; twice += 1) await uninstallAgent(ssh);
    assert.deepEqual(await own(), []);
    for (const path of [...directories.map(([directory]) => directory), places.initScript, places.pid]) {
      const { code, stdout } = await ssh.exec(['find', path, '-mindepth', '1']);
      assert.equal(code === 0 ? stdout : '', '', `${path} is left`);
    }
  } finally {
    await ssh.exec([places.initScript, 'stop']);
    keeper.kill('SIGKILL');
    await rm(exchange, { recursive: true, force: true });
    // Only the mount point; what was mounted on it went with the namespace.
    if (madeMountPoint) await rmdir('/etc/nephos-agent').catch(() => {});
  }
}

async function until(what: string, isSo: () => Promise<boolean>, seconds = 20): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!(await isSo())) {
    assert.ok(performance.now() < end, `not within ${seconds} s: ${what}`);
    await wait(200);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  test('OV-02 the agent is installed, supervised, started again after a kill, and removed without a trace', tryInstallation);
}
