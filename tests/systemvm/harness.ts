/** For tests: system VMs in network namespaces of their own, and one namespace that is everything around them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CloudError } from '../../protocol/errors.ts';
import type { NicRole, SystemVmKindName } from '../../protocol/kinds.ts';
import { ip } from '../../router/harness.ts';
import { runCommand } from '../../systemvm/commands.ts';

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const inNamespace = (namespace: string, words: readonly string[], output: 'pipe' | 'ignore' | 'inherit'): ChildProcess =>
  spawn('ip', ['netns', 'exec', namespace, process.execPath, '--import', 'tsx', ...words], {
    stdio: ['pipe', output, 'inherit'],
    env: { ...process.env, NEPHOS_LOG_LEVEL: process.env['NEPHOS_LOG_LEVEL'] ?? 'silent' },
  });
const batch = (namespace: string, lines: readonly string[]): Promise<string> =>
  runCommand('ip', ['-netns', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });

export async function until<T>(what: string, look: () => Promise<T | null | undefined | false>, seconds = 12): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > deadline) throw new CloudError('Timeout', `not in ${seconds} seconds: ${what}`);
    await sleep(50);
  }
}

export interface VmState {
  readonly state: string | null;
  readonly server: number;
  readonly address: string | null;
  readonly serials: number;
}
export interface Vm {
  readonly kind: SystemVmKindName;
  readonly id: string;
  readonly namespace: string;
  readonly folder: string;
  /** Starts the program; `changes` go to its `Machine`. */
  readonly start: (changes?: Readonly<Record<string, unknown>>) => ChildProcess;
  readonly kill: () => Promise<void>;
  /** SIGTERM, as at a clean shutdown; what it exits with. */
  readonly stop: () => Promise<number | null>;
  readonly state: () => Promise<VmState>;
  readonly untilUp: () => Promise<VmState>;
  readonly ask: <T>(message: string, body?: unknown) => Promise<T>;
  readonly console: () => Promise<string>;
}
export interface VmNic {
  readonly role: NicRole;
  readonly address: string;
  readonly mask: string;
  /** The cloud's end of the wire. */
  readonly farDevice: string;
}
export interface Surroundings {
  readonly namespace: string;
  readonly folder: string;
  readonly makeVm: (kind: SystemVmKindName, changes?: Readonly<Record<string, string>>) => Promise<Vm>;
  readonly closeHub: (index: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

const zoneNics: readonly VmNic[] = [
  { role: 'control', address: '169.254.3.4', mask: '255.255.0.0', farDevice: 'control' },
  { role: 'management', address: '198.18.0.50', mask: '255.255.255.0', farDevice: 'management' },
  { role: 'public', address: '203.0.113.20', mask: '255.255.255.0', farDevice: 'public' },
  { role: 'storage', address: '198.19.0.50', mask: '255.255.255.0', farDevice: 'storage' },
];
const routerNics: readonly VmNic[] = [
  { role: 'guest', address: '10.1.1.1', mask: '255.255.255.0', farDevice: 'guest' },
  { role: 'control', address: '169.254.3.4', mask: '255.255.0.0', farDevice: 'control' },
  { role: 'public', address: '203.0.113.20', mask: '255.255.255.0', farDevice: 'public' },
];
const farAddresses: Readonly<Record<string, readonly string[]>> = {
  control: ['169.254.0.1/16'],
  management: ['198.18.0.1/24', '198.18.0.2/24'],
  public: ['203.0.113.1/24'],
  storage: ['198.19.0.1/24'],
  guest: ['10.1.1.20/24'],
};
export const nicsOf = (kind: SystemVmKindName): readonly VmNic[] => (kind === 'router' ? routerNics : zoneNics);
const macOf = (index: number): string => `02:00:00:00:05:0${index}`;

/** `networks` are those that the namespace around is on, each by a wire of its own. */
export async function openSurroundings(kind: SystemVmKindName): Promise<Surroundings> {
  const unique = `nv${process.pid}`;
  const [around, vmNamespace] = [`${unique}c`, `${unique}v`];
  const nics = nicsOf(kind);
  const servers = kind === 'router' ? ['169.254.0.1'] : ['198.18.0.1', '198.18.0.2'];
  // Not in /tmp: sshd refuses keys below a folder that everybody may write to.
  const folder = await mkdtemp('/run/nephos-systemvm-');
  await chmod(folder, 0o755);
  for (const name of [around, vmNamespace]) await ip('netns', 'add', name);
  // The kernel's names are in another order than the NICs of the design, and two of them are swapped.
  const kernelNames = ['eth1', 'eth0', 'nic7', 'eth2'];
  await runCommand('ip', ['-batch', '-'], {
    input: nics
      .map(
        ({ farDevice }, index) => `link add ${farDevice} netns ${around} type veth peer name ${kernelNames[index]} netns ${vmNamespace}\n`,
      )
      .join(''),
  });
  await batch(
    around,
    ['link set lo up'].concat(
      nics.flatMap(({ farDevice }) => [
        ...(farAddresses[farDevice] ?? []).map((address) => `addr add ${address} dev ${farDevice}`),
        `link set ${farDevice} up`,
      ]),
    ),
  );
  await batch(
    vmNamespace,
    nics.map((_, index) => `link set ${kernelNames[index]} address ${macOf(index)}`),
  );

  const cloud = inNamespace(around, [here('./cloud-program.ts'), ...servers], 'pipe');
  const waiting = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  let count = 0;
  const wish = <T>(what: string, fields: Readonly<Record<string, unknown>> = {}): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      waiting.set(++count, { resolve, reject });
      cloud.stdin?.write(`${JSON.stringify({ number: count, what, ...fields })}\n`);
    });
  await new Promise<void>((resolve, reject) => {
    cloud.once('exit', (exitCode) => reject(new CloudError('Internal', `the cloud program ended with ${exitCode}`)));
    if (cloud.stdout)
      createInterface({ input: cloud.stdout }).on('line', (line) => {
        if (line === 'ready') return resolve();
        const { number, answer, error } = JSON.parse(line);
        const asked = waiting.get(number);
        waiting.delete(number);
        if (error === undefined) asked?.resolve(answer as never);
        else asked?.reject(new CloudError('Internal', error));
      });
  });

  await runCommand('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'cloud@test', '-f', `${folder}/key`]);
  const publicKey = (await readFile(`${folder}/key.pub`, 'utf8')).trim();
  const children = new Set<ChildProcess>();

  return {
    namespace: around,
    folder,
    closeHub: (index) => wish('closeHub', { index }),
    makeVm: async (asKind, changes = {}) => {
      const id = await wish<string>('newPeer', { kind: asKind });
      const { token, caSha256 } = await wish<{ token: string; caSha256: string }>('token', { kind: asKind, id });
      const vmFolder = `${folder}/${id}`;
      await mkdir(vmFolder);
      const words: Record<string, string> = {
        type: asKind,
        name: asKind === 'router' ? 'r-5-VM' : 's-5-VM',
        id,
        zone: '01890000-0000-7000-8000-000000000002',
        host: servers.join(','),
        port: '8250',
        token,
        ca: caSha256,
        authorized_key: Buffer.from(publicKey).toString('base64'),
        ...Object.fromEntries(
          nics.flatMap(({ role, address, mask }, index) => [
            [`eth${index}ip`, address],
            [`eth${index}mask`, mask],
            [`eth${index}role`, role],
            [`eth${index}mac`, macOf(index)],
          ]),
        ),
        gateway: '203.0.113.1',
        gatewaydev: 'eth2',
        mgmtcidr: '198.18.0.0/24,198.18.128.0/17',
        localgw: asKind === 'router' ? 'none' : '198.18.0.1',
        dns1: '203.0.113.53',
        domain: 'cloud.internal',
        ...changes,
      };
      const line = Object.entries(words).map(([key, value]) => `nephos.${key}=${value}`);
      await writeFile(`${vmFolder}/cmdline`, `console=ttyS0 quiet ${line.join(' ')}\n`);
      await writeFile(`${vmFolder}/VERSION`, 'test-7\n0000  router.mjs\n');
      let child: ChildProcess | null = null;
      const end = async (signal: NodeJS.Signals): Promise<number | null> => {
        const ending = child;
        child = null;
        if (ending === null || ending.exitCode !== null) return ending?.exitCode ?? null;
        const ended = new Promise<number | null>((resolve) => ending.once('exit', resolve));
        ending.kill(signal);
        return await ended;
      };
      const state = (): Promise<VmState> => wish('state', { id });
      return {
        kind: asKind,
        id,
        namespace: vmNamespace,
        folder: vmFolder,
        start: (machine = {}) => {
          child = inNamespace(
            vmNamespace,
            [here('./vm-program.ts'), kind, vmFolder, JSON.stringify(machine)],
            process.env['NEPHOS_LOG_LEVEL'] ? 'inherit' : 'ignore',
          );
          children.add(child);
          return child;
        },
        kill: async () => {
          await end('SIGKILL');
        },
        stop: () => end('SIGTERM'),
        state,
        untilUp: () =>
          until('the agent is Up', async () => {
            const seen = await state();
            return seen.state === 'Up' && seen.server >= 0 ? seen : null;
          }),
        ask: (message, body = {}) => wish('ask', { kind: asKind, id, message, body }),
        console: () => readFile(`${vmFolder}/console`, 'utf8').catch(() => ''),
      };
    },
    close: async () => {
      for (const child of [...children, cloud]) child.kill('SIGKILL');
      for (const name of [around, vmNamespace]) {
        const pids = (await ip('netns', 'pids', name).catch(() => '')).split('\n').filter(Boolean);
        for (const pid of pids) {
          try {
            process.kill(Number(pid), 'SIGKILL');
          } catch {
            // It has ended by itself meanwhile.
          }
        }
        await ip('netns', 'del', name);
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}
