/**
 * A host of its own inside this machine, for tests of the real driver: namespaces for mounts, network and processes, with a libvirt that knows
 * nothing of the machine's. Everything in it ends with `close`, and with this process.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { attempt, type Outcome, run } from './processes.ts';

export interface ScratchHost {
  /** Runs a program there, to its end. */
  exec(argv: readonly string[], options?: { timeoutSeconds?: number; input?: string }): Promise<Outcome>;
  close(): Promise<void>;
}

const CHECKOUT = resolve(import.meta.dirname, '..');
const KEPT = '/run/checkout';
const TMPFS = ['/tmp', '/etc/libvirt', '/var/lib/libvirt', '/var/log/libvirt', '/var/cache/libvirt'];
const DEVICES = ['null', 'zero', 'full', 'random', 'urandom', 'tty', 'net', 'kvm'];
const SETTINGS: Readonly<Record<string, string>> = {
  '/etc/libvirt/libvirtd.conf': 'unix_sock_rw_perms = "0700"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\n',
  '/etc/libvirt/virtlogd.conf': '',
  '/etc/libvirt/qemu.conf': ['stdio_handler = "file"', 'namespaces = []', 'cgroup_controllers = []', 'security_driver = "none"', ''].join(
    '\n',
  ),
};

export async function openScratchHost(): Promise<ScratchHost> {
  const keeper = spawn(
    'unshare',
    [
      ...['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'],
      // Libvirt's machines become children of the first process, which must see them off.
      ...['catatonit', '-P'],
    ],
    { stdio: 'ignore' },
  );
  const gone = new Promise<void>((resolve) => keeper.once('exit', () => resolve()));
  const init = await firstChild(keeper.pid ?? 0);
  const enter = ['--target', init, '--mount', '--net', '--pid', '--'];
  const exec: ScratchHost['exec'] = (argv, options) => attempt('nsenter', [...enter, ...argv], options);
  const inside = (...argv: string[]): Promise<string> => run(argv.join(' '), 'nsenter', [...enter, ...argv]);
  const daemon = (...argv: string[]): void => {
    spawn('nsenter', [...enter, ...argv], { stdio: 'ignore' });
  };
  const host: ScratchHost = {
    exec,
    close: async () => {
      keeper.kill('SIGKILL');
      await gone;
    },
  };
  try {
    const cover = async (path: string): Promise<void> => {
      await inside('mkdir', '-p', '--', path);
      await inside('mount', '-t', 'tmpfs', '-o', path === '/tmp' ? 'mode=1777' : 'mode=755', 'tmpfs', path);
    };
    // A checkout may lie in a folder that is covered, such as /tmp; it is kept in hand and laid back where it was.
    await cover('/run');
    await inside('mkdir', KEPT);
    await inside('mount', '--bind', '--', CHECKOUT, KEPT);
    for (const path of TMPFS) await cover(path);
    await inside('mkdir', '-p', '--', CHECKOUT);
    await inside('mount', '--bind', '--', KEPT, CHECKOUT);
    // Device files of its own: the agent puts the owner of /dev/kvm right, and that must not reach the machine.
    await inside('mkdir', '/run/dev');
    for (const name of DEVICES) await exec(['cp', '--archive', '--', `/dev/${name}`, '/run/dev/']);
    for (const name of ['pts', 'shm']) await inside('mkdir', `/run/dev/${name}`);
    await inside('mount', '-t', 'tmpfs', '-o', 'mode=1777', 'tmpfs', '/run/dev/shm');
    await inside('mount', '-t', 'devpts', '-o', 'newinstance,ptmxmode=0666,mode=0620,gid=5', 'devpts', '/run/dev/pts');
    await inside('ln', '-s', 'pts/ptmx', '/run/dev/ptmx');
    await inside('mount', '--rbind', '/run/dev', '/dev');
    for (const [path, text] of Object.entries(SETTINGS)) {
      assert.equal((await exec(['tee', '--', path], { input: text })).code, 0);
    }
    await inside('ip', 'link', 'set', 'dev', 'lo', 'up');
    daemon('virtlogd');
    daemon('libvirtd');
    const end = performance.now() + 60_000;
    while ((await exec(['virsh', '--connect', 'qemu:///system', 'version'])).code !== 0) {
      assert.ok(performance.now() < end, 'libvirt does not come up');
      await wait(500);
    }
    return host;
  } catch (error) {
    await host.close();
    throw error;
  }
}

async function firstChild(pid: number): Promise<string> {
  const end = performance.now() + 5000;
  for (;;) {
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    const [child] = children.trim().split(' ');
    if (child !== undefined && child !== '') return child;
    assert.ok(performance.now() < end, 'no namespaces: is this root?');
    await wait(20);
  }
}
