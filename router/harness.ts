/**
 * For tests: a router in a network namespace of its own, with guests on one side and the outside on the other. Router, guests and
 * servers are real programs on real (virtual) wires; only the machine around them is shared.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CloudError } from '../protocol/errors.ts';
import type { RouterConfiguration } from '../protocol/messages/router.ts';
import { runCommand } from '../systemvm/commands.ts';
import type { RouterReadBack } from './apply.ts';

export const isRoot = process.getuid?.() === 0;

export const routerAddress = '10.1.1.1';
export const publicAddress = '203.0.113.10';
export const outsideAddress = '203.0.113.1';

export const ip = (...words: string[]): Promise<string> => runCommand('ip', words);

/** A program in `namespace`; what it prints. */
export const inside = (namespace: string, command: string, words: readonly string[], input = ''): Promise<string> =>
  runCommand('ip', ['netns', 'exec', namespace, command, ...words], { input, timeoutSeconds: 15 });
/** True when the program ended well; for asking whether something can be reached. */
export const works = (namespace: string, command: string, words: readonly string[]): Promise<boolean> =>
  inside(namespace, command, words).then(
    () => true,
    () => false,
  );

export interface RouterProgram {
  readonly apply: (configuration: RouterConfiguration) => Promise<{ generation: number; changedFiles: number }>;
  readonly read: () => Promise<RouterReadBack>;
  /** Bells rung so far. */
  readonly bells: () => Promise<number>;
  readonly pid: (daemon: string) => Promise<number>;
  readonly residentMib: () => Promise<number>;
  /** As when the machine loses the program; its daemons live on. */
  readonly kill: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface Guest {
  readonly namespace: string;
  readonly mac: string;
  /** Asks for an address as a guest does; null when nobody offers one. */
  readonly askAddress: () => Promise<Record<string, string> | null>;
  /** Sets the address and the default route without asking. */
  readonly setAddress: (address: string) => Promise<void>;
  readonly resolve: (name: string, server?: string) => Promise<string | null>;
  /** Body of `url`, or null when it is refused or not there. */
  readonly fetch: (url: string, headers?: readonly string[]) => Promise<string | null>;
}

export interface NetworkLab {
  readonly runFolder: string;
  readonly routerNamespace: string;
  readonly outside: Guest;
  readonly guest: (index: number) => Guest;
  readonly startRouter: () => Promise<RouterProgram>;
  /** Runs a program in the outside's namespace until the lab closes; ends when it has printed a line. */
  readonly startOutside: (command: string, words: readonly string[]) => Promise<void>;
  readonly close: () => Promise<void>;
}

export const guestMac = (index: number): string => `02:00:0a:01:01:${(index + 16).toString(16)}`;

function startRouterProgram(namespace: string, runFolder: string): Promise<RouterProgram> {
  const program = fileURLToPath(new URL('./harness-program.ts', import.meta.url));
  const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, '--import', 'tsx', program, runFolder], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NEPHOS_LOG_LEVEL: process.env['NEPHOS_LOG_LEVEL'] ?? 'fatal' },
  });
  const waiting: { resolve: (answer: never) => void; reject: (error: Error) => void }[] = [];
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const ask = <T>(what: string, body: unknown = null): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.stdin.write(`${JSON.stringify({ what, body })}\n`);
    });
  const program$: RouterProgram = {
    apply: (configuration) => ask('apply', configuration),
    read: () => ask('read'),
    bells: () => ask('bells'),
    pid: (daemon) => ask('pid', daemon),
    residentMib: () => ask('residentMib'),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'ready') return resolve(program$);
      const { answer, error } = JSON.parse(line);
      const next = waiting.shift();
      if (error === undefined) next?.resolve(answer as never);
      else next?.reject(new CloudError('Internal', error));
    });
    child.once('exit', (exitCode) => {
      const error = new CloudError('Internal', `the router program ended with ${exitCode}`);
      for (const { reject: rejectAsk } of waiting.splice(0)) rejectAsk(error);
      reject(error);
    });
  });
}

function guestIn(namespace: string, mac: string, leaseScript: string): Guest {
  return {
    namespace,
    mac,
    askAddress: async () => {
      const words = ['udhcpc', '-i', 'eth0', '-f', '-n', '-q', '-t', '3', '-T', '1', '-s', leaseScript];
      const options = ['-O', 'mtu', '-O', 'search', '-O', 'lease'];
      const printed = await inside(namespace, 'busybox', [...words, ...options]).catch(() => '');
      const fields = Object.fromEntries(printed.split('\n').map((line) => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]));
      return typeof fields['ip'] === 'string' ? fields : null;
    },
    setAddress: async (address) => {
      const lines = ['addr flush dev eth0', `addr add ${address}/24 dev eth0`, `route replace default via ${routerAddress}`];
      await runCommand('ip', ['-netns', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });
    },
    resolve: async (name, server = routerAddress) => {
      const printed = await inside(namespace, 'busybox', ['timeout', '4', 'busybox', 'nslookup', '-type=a', name, server]).catch(() => '');
      // The first address is the server's own.
      return /Name:.*\nAddress(?: 1)?: ([\d.]+)/.exec(printed)?.[1] ?? null;
    },
    fetch: (url, headers = []) => {
      // busybox' own -T crashes in Debian 12.
      const words = ['timeout', '3', 'busybox', 'wget', '-q', '-O', '-', ...headers.flatMap((header) => ['--header', header]), url];
      return inside(namespace, 'busybox', words).catch(() => null);
    },
  };
}

export async function openNetworkLab({ guests }: { guests: number }): Promise<NetworkLab> {
  const unique = `np${process.pid}`;
  const names = { router: `${unique}r`, outside: `${unique}o`, wire: `${unique}w`, guest: (index: number): string => `${unique}g${index}` };
  const all = [names.router, names.outside, names.wire, ...Array.from({ length: guests }, (_, index) => names.guest(index))];
  const runFolder = await mkdtemp(`${tmpdir()}/nephos-router-`);
  // dnsmasq gives up root's rights and must still get to its files.
  await chmod(runFolder, 0o755);
  // What a DHCP client was offered is in the environment of the script that it runs.
  const leaseScript = `${runFolder}/print-lease`;
  await writeFile(leaseScript, '#!/usr/bin/busybox sh\nexec printenv\n', { mode: 0o755 });
  const children: ChildProcess[] = [];
  const programs: RouterProgram[] = [];
  for (const name of all) await ip('netns', 'add', name);
  // The guests and the router's guest NIC are ports of one bridge, as they are on a host.
  const wiring = [
    `link add eth2 netns ${names.router} type veth peer name eth0 netns ${names.outside}`,
    `link add eth0 netns ${names.router} type veth peer name port netns ${names.wire}`,
  ];
  const inWire = ['link add wire type bridge', 'link set wire up', 'link set port master wire', 'link set port up'];
  for (let index = 0; index < guests; index++) {
    wiring.push(`link add eth0 netns ${names.guest(index)} type veth peer name port${index} netns ${names.wire}`);
    inWire.push(`link set port${index} master wire`, `link set port${index} up`);
  }
  await runCommand('ip', ['-batch', '-'], { input: `${wiring.join('\n')}\n` });
  await runCommand('ip', ['-netns', names.wire, '-batch', '-'], { input: `${inWire.join('\n')}\n` });
  const inRouter = ['link set lo up', 'link set eth0 up', 'link set eth2 up'];
  await runCommand('ip', ['-netns', names.router, '-batch', '-'], { input: `${inRouter.join('\n')}\n` });
  for (let index = 0; index < guests; index++) {
    const inGuest = ['link set lo up', `link set eth0 address ${guestMac(index)}`, 'link set eth0 up'];
    await runCommand('ip', ['-netns', names.guest(index), '-batch', '-'], { input: `${inGuest.join('\n')}\n` });
  }
  const inOutside = ['link set lo up', `addr add ${outsideAddress}/24 dev eth0`, 'link set eth0 up'];
  await runCommand('ip', ['-netns', names.outside, '-batch', '-'], { input: `${inOutside.join('\n')}\n` });

  return {
    runFolder,
    routerNamespace: names.router,
    outside: guestIn(names.outside, '', leaseScript),
    guest: (index) => guestIn(names.guest(index), guestMac(index), leaseScript),
    startRouter: async () => {
      const program = await startRouterProgram(names.router, runFolder);
      programs.push(program);
      return program;
    },
    startOutside: (command, words) =>
      new Promise((resolve, reject) => {
        const child = spawn('ip', ['netns', 'exec', names.outside, command, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
        children.push(child);
        for (const stream of [child.stdout, child.stderr]) stream.once('data', () => resolve());
        child.once('exit', (exitCode) => reject(new CloudError('Internal', `${command} ended with ${exitCode}`)));
      }),
    close: async () => {
      for (const program of programs) await program.close();
      for (const child of children) child.kill('SIGKILL');
      // A daemon whose program was killed lives on; deleting the namespace would leave it running in a nameless one.
      for (const name of all) {
        const pids = (await ip('netns', 'pids', name).catch(() => '')).split('\n').filter(Boolean);
        for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
        await ip('netns', 'del', name);
      }
      await rm(runFolder, { recursive: true, force: true });
    },
  };
}
