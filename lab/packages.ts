import { spawn } from 'node:child_process';
import { appendFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { CloudError } from '../protocol/errors.ts';
import { command, plainEnvironment } from './command.ts';
import { exists, readJsonIfAny, readTextIfAny, writeJsonWhole, writeTextWhole } from './files.ts';
import { withLock } from './lock.ts';
import { logTail } from './processes.ts';

/** Debian's packages by what they are for. Every name exists in Debian 12 and 13. */
export const packageGroups = {
  /** The management server's database and queue. Only the cores: no service is wanted, we start our own. */
  server: ['mariadb-server-core', 'mariadb-client-core', 'redis-server'],
  /** What a KVM host needs. */
  host: [
    'libvirt-daemon-system',
    'libvirt-clients',
    'qemu-system-x86',
    'qemu-utils',
    'iproute2',
    'nftables',
    'openssh-server',
    'genisoimage',
    'e2fsprogs',
    'procps',
    'kmod',
    'ethtool',
  ],
  /** Namespaces that play hosts, a storage server and the internet. */
  lab: ['catatonit', 'util-linux', 'mount', 'passwd', 'dnsmasq-base', 'nfs-ganesha', 'nfs-ganesha-vfs', 'openssh-client', 'iputils-ping'],
  /**
   * The system VM template and the guest templates. Not busybox-static: it would push out the busybox that many machines have; a build that needs it
   * downloads and unpacks it without installing.
   */
  build: ['mmdebstrap', 'debian-archive-keyring', 'cpio', 'zstd', 'xz-utils', 'xorriso', 'genisoimage', 'e2fsprogs', 'qemu-utils'],
  /** Tests only: a browser, API clients, a look at the wire, the sandbox that system VMs bring with them. udhcpc brings a busybox when there is none. */
  test: [
    'chromium',
    'fonts-dejavu-core',
    'python3-libcloud',
    'python3-cs',
    // cs offers its asynchronous client only where this is installed.
    'python3-aiohttp',
    'tcpdump',
    'nftables',
    'openssh-client',
    'libnfs-utils',
    'curl',
    'udhcpc',
    'openssl',
    'bubblewrap',
  ],
} as const satisfies Record<string, readonly string[]>;

export type PackageGroup = keyof typeof packageGroups;
export const runGroups: readonly PackageGroup[] = ['server', 'host', 'lab', 'build'];

export const packagesOf = (groups: readonly PackageGroup[]): string[] =>
  [...new Set(groups.flatMap((group) => packageGroups[group]))].sort();

export type PackageProgress = (fraction: number, note: string) => void;

export interface PackageOptions {
  readonly varDir: string;
  readonly groups?: readonly PackageGroup[];
  readonly onProgress?: PackageProgress;
}

/** What we asked apt to bring to this machine, dependencies included; written before apt starts, so it may name some that never arrived. */
const AddedPackages = z.strictObject({ added: z.array(z.string()) });

const APT_TIMEOUT_SECONDS = 3600;
const LISTS_AGE_MAX_MS = 24 * 3600 * 1000;
const POLICY_FILE = '/usr/sbin/policy-rc.d';
const POLICY_SAVED = `${POLICY_FILE}.before-nephos`;
const POLICY_MARK = '# Made by Nephos while it installs packages; removed afterwards.';

const addedFile = (varDir: string): string => join(varDir, 'packages.json');
const aptLog = (varDir: string): string => join(varDir, 'log', 'apt.log');
const packageLock = (): string => '/run/lock/nephos-packages';

const aptEnvironment = { DEBIAN_FRONTEND: 'noninteractive', DEBCONF_NONINTERACTIVE_SEEN: 'true', LC_ALL: 'C' };
const aptOptions = [
  '-q',
  '-y',
  '-o',
  'DPkg::Lock::Timeout=300',
  '-o',
  'Dpkg::Options::=--force-confdef',
  '-o',
  'Dpkg::Options::=--force-confold',
];

const installedOf = async (names: readonly string[]): Promise<Set<string>> => {
  if (names.length === 0) return new Set();
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the braces are dpkg-query's own.
  const format = '--showformat=${Package} ${db:Status-Status}\\n';
  // Code 1 says that some name is unknown to dpkg, which is an answer.
  const { stdout } = await command('dpkg-query', ['--show', format, '--', ...names], {
    timeoutSeconds: 30,
    acceptedCodes: [1],
  });
  const lines = stdout.split('\n').map((line) => line.split(' '));
  return new Set(lines.flatMap(([name, status]) => (name !== undefined && status === 'installed' ? [name] : [])));
};

export const missingPackages = async (groups: readonly PackageGroup[] = runGroups): Promise<string[]> => {
  const wanted = packagesOf(groups);
  await requireDebian();
  const installed = await installedOf(wanted);
  return wanted.filter((name) => !installed.has(name));
};

/** The values of an os-release file may stand in quotes. */
export const parseOsRelease = (text: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    text.split('\n').flatMap((line) => {
      const match = /^([A-Z_]+)=["']?(.*?)["']?\s*$/.exec(line);
      return match === null ? [] : [[match[1] ?? '', match[2] ?? '']];
    }),
  );

const requireDebian = async (): Promise<void> => {
  const release = parseOsRelease((await readTextIfAny('/etc/os-release')) ?? '');
  const remedy = 'use a Debian 12 or 13 machine of the amd64 architecture';
  if (release['ID'] !== 'debian')
    throw new CloudError('InvalidParameter', `this machine runs ${release['PRETTY_NAME'] ?? 'an unknown system'}, not Debian`, { remedy });
  if (process.arch !== 'x64')
    throw new CloudError('InvalidParameter', `this machine's architecture is ${process.arch}, not amd64`, { remedy });
};

export const requireRoot = (purpose: string): void => {
  if (process.getuid?.() !== 0) throw new CloudError('Forbidden', `${purpose} needs root`, { remedy: 'run the same command as root' });
};

/** One line of apt's status stream: `dlstatus` counts the downloads, `pmstatus` what dpkg does. */
export const parseAptStatus = (line: string): { readonly fraction: number; readonly note: string } | null => {
  const match = /^(dlstatus|pmstatus):([^:]*):([\d.]+):(.*)$/.exec(line);
  if (match === null) return null;
  const share = Math.min(1, Number(match[3]) / 100);
  return match[1] === 'dlstatus'
    ? { fraction: 0.4 * share, note: 'downloading' }
    : { fraction: 0.4 + 0.6 * share, note: (match[4] ?? '').trim() };
};

/** `apt-get --simulate` prints one line per package it would install or remove. */
export const parseSimulation = (stdout: string, verb: 'Inst' | 'Remv' | 'Purg'): string[] =>
  stdout.split('\n').flatMap((line) => {
    const [first, name] = line.split(' ');
    return first === verb && name !== undefined ? [name] : [];
  });

const runApt = async (varDir: string, args: readonly string[], onProgress?: PackageProgress): Promise<boolean> => {
  const logFile = aptLog(varDir);
  await mkdir(join(varDir, 'log'), { recursive: true });
  const log = await open(logFile, 'a');
  try {
    await log.appendFile(`\n== apt-get ${args.join(' ')}\n`);
    const child = spawn('apt-get', ['-o', 'APT::Status-Fd=3', ...aptOptions, ...args], {
      cwd: '/',
      env: { ...plainEnvironment(), ...aptEnvironment, ...proxySettings() },
      stdio: ['ignore', log.fd, log.fd, 'pipe'],
      timeout: APT_TIMEOUT_SECONDS * 1000,
    });
    const status = child.stdio[3];
    if (status !== null && status !== undefined && 'read' in status)
      createInterface({ input: status }).on('line', (line) => {
        const progress = parseAptStatus(line);
        if (progress !== null) onProgress?.(progress.fraction, progress.note);
      });
    return await new Promise<boolean>((resolve) => {
      child.once('error', () => resolve(false));
      child.once('close', (code) => resolve(code === 0));
    });
  } finally {
    await log.close();
  }
};

/** apt may reach its mirror only through the proxy that the caller's environment names. */
const proxySettings = (): Record<string, string> =>
  Object.fromEntries(
    ['http_proxy', 'https_proxy', 'no_proxy'].flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );

const listsAreOld = async (): Promise<boolean> => {
  const directory = '/var/lib/apt/lists';
  const names = (await readdir(directory).catch(() => [])).filter((name) => /_(InRelease|Packages(\..*)?)$/.test(name));
  const times = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).mtimeMs));
  // Only freshness of the listing counts; the files keep the mirror's own times, the folder that of the last change.
  return times.length === 0 || Date.now() - (await stat(directory)).mtimeMs > LISTS_AGE_MAX_MS;
};

/**
 * Daemons of new packages must not start. A policy that already forbids it is left alone; another one is set aside and put back, also by
 * the next run when this one is cut short.
 */
const withDaemonsKeptDown = async <T>(work: () => Promise<T>): Promise<T> => {
  await restorePolicy();
  const found = await exists(POLICY_FILE);
  if (
    found &&
    (await command(POLICY_FILE, ['redis-server', 'start'], { timeoutSeconds: 10, acceptedCodes: [101, 104, 105, 106] })).code === 101
  )
    return await work();
  if (found) await rename(POLICY_FILE, POLICY_SAVED);
  await writeTextWhole(POLICY_FILE, `#!/bin/sh\n${POLICY_MARK}\nexit 101\n`, 0o755);
  try {
    return await work();
  } finally {
    await restorePolicy();
  }
};

const restorePolicy = async (): Promise<void> => {
  const ours = (await readTextIfAny(POLICY_FILE))?.includes(POLICY_MARK) ?? false;
  if (ours) await rm(POLICY_FILE, { force: true });
  if ((await exists(POLICY_SAVED)) && !(await exists(POLICY_FILE))) await rename(POLICY_SAVED, POLICY_FILE);
};

/** What we bring must not start at the next boot either: we start our own instances, with our own settings. */
const disableUnits = async (names: readonly string[]): Promise<void> => {
  if (!(await exists('/run/systemd/system')) || names.length === 0) return;
  const { stdout } = await command('dpkg-query', ['--listfiles', '--', ...names], { timeoutSeconds: 30, acceptedCodes: [1] });
  const units = stdout
    .split('\n')
    .flatMap((path) => /\/systemd\/system\/([^/@]+\.(?:service|socket|timer|target|path))$/.exec(path)?.[1] ?? []);
  if (units.length === 0) return;
  // A unit that is static or unknown makes the call fail after it has done the others.
  await command('systemctl', ['disable', '--quiet', '--', ...new Set(units)], { timeoutSeconds: 120, acceptedCodes: [1, 4, 5] });
};

const installFailed = async (varDir: string, missing: readonly string[]): Promise<CloudError> =>
  new CloudError('Unavailable', `apt-get could not install ${missing.length} package(s): ${missing.slice(0, 6).join(', ')}`, {
    logFile: aptLog(varDir),
    lastLines: await logTail(aptLog(varDir)),
    remedy: 'see the log; check that the mirrors in /etc/apt answer, then run the same command again',
  });

/** Installs what is missing and nothing else. Does nothing, in a fraction of a second, when all is there. Returns what was added. */
export const ensurePackages = async ({ varDir, groups = runGroups, onProgress }: PackageOptions): Promise<string[]> => {
  if ((await missingPackages(groups)).length === 0) return [];
  requireRoot('installing packages');
  return await withLock(packageLock(), { timeoutSeconds: 1800, about: 'installing packages', removeFile: true }, async () => {
    const missing = await missingPackages(groups);
    if (missing.length === 0) return [];
    return await withDaemonsKeptDown(async () => {
      if (await listsAreOld()) {
        onProgress?.(0, 'reading package lists');
        await runApt(varDir, ['update']);
      }
      const added = await installOnce(varDir, missing, onProgress);
      if (added !== null) return added;
      // The usual causes: an interrupted dpkg, or lists older than what the mirror still has.
      await command('dpkg', ['--configure', '-a', '--force-confdef', '--force-confold'], {
        timeoutSeconds: APT_TIMEOUT_SECONDS,
        environment: aptEnvironment,
        acceptedCodes: [1, 2],
      });
      await runApt(varDir, ['update']);
      const secondTry = await installOnce(varDir, missing, onProgress);
      if (secondTry === null) throw await installFailed(varDir, missing);
      return secondTry;
    });
  });
};

const installOnce = async (varDir: string, missing: readonly string[], onProgress?: PackageProgress): Promise<string[] | null> => {
  const install = ['install', '--no-install-recommends', '--no-remove', '--', ...missing];
  const simulation = await command('apt-get', [...aptOptions, '--simulate', ...install], {
    timeoutSeconds: 300,
    environment: aptEnvironment,
    acceptedCodes: [100],
  });
  if (simulation.code !== 0) {
    await mkdir(join(varDir, 'log'), { recursive: true });
    await appendFile(aptLog(varDir), `\n== apt-get --simulate ${install.join(' ')}\n${simulation.stdout}${simulation.stderr}`);
    return null;
  }
  const arriving = parseSimulation(simulation.stdout, 'Inst');
  const present = await installedOf(arriving);
  const added = arriving.filter((name) => !present.has(name));
  await writeJsonWhole(addedFile(varDir), { added: [...new Set([...(await addedPackages(varDir)), ...added])].sort() });
  if (!(await runApt(varDir, install, onProgress))) return null;
  const installed = await installedOf(missing);
  if (missing.some((name) => !installed.has(name))) return null;
  await disableUnits(added);
  return added;
};

/** What `ensurePackages` brought to this machine, dependencies included. */
export const addedPackages = async (varDir: string): Promise<string[]> =>
  (await readJsonIfAny(addedFile(varDir), AddedPackages))?.added ?? [];

/** Takes away again what was added. What other packages came to need meanwhile stays, and is returned as kept. */
export const removePackages = async ({
  varDir,
  onProgress,
}: PackageOptions): Promise<{ readonly removed: string[]; readonly kept: string[] }> => {
  const added = await addedPackages(varDir);
  if (added.length === 0) return { removed: [], kept: [] };
  requireRoot('removing packages');
  return await withLock(packageLock(), { timeoutSeconds: 1800, about: 'removing packages', removeFile: true }, async () => {
    let removed = [...(await installedOf(added))].sort();
    const kept: string[] = [];
    while (removed.length > 0) {
      const { stdout } = await command('apt-get', [...aptOptions, '--simulate', 'purge', '--', ...removed], {
        timeoutSeconds: 300,
        environment: aptEnvironment,
      });
      const foreign = [...parseSimulation(stdout, 'Remv'), ...parseSimulation(stdout, 'Purg')].filter((name) => !removed.includes(name));
      if (foreign.length === 0) break;
      const needed = await neededBy(foreign, removed);
      // Nothing found to keep would mean to try the same again for ever: then all of it stays.
      kept.push(...(needed.length > 0 ? needed : removed));
      removed = removed.filter((name) => !kept.includes(name));
    }
    if (removed.length > 0 && !(await runApt(varDir, ['purge', '--', ...removed], onProgress)))
      throw new CloudError('Unavailable', 'apt-get could not remove the packages', { logFile: aptLog(varDir), remedy: 'see the log' });
    await rm(addedFile(varDir), { force: true });
    return { removed, kept };
  });
};

/** The names in a field such as `libc6 (>= 2.36), perl:any | perl-base`; alternatives count, as any of them may be the one in use. */
const namesIn = (field: string): string[] => field.split(/[,|]/).flatMap((part) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(part)?.[1] ?? []);

/** What can be reached from `starts` over the lines `name TAB depends TAB provides` of installed packages, by name or by what a package provides. */
export const reachable = (lines: string, starts: readonly string[]): Set<string> => {
  const needs = new Map<string, string[]>();
  const providers = new Map<string, string[]>();
  for (const line of lines.split('\n')) {
    const [name, depends = '', provides = ''] = line.split('\t');
    if (name === undefined || name === '') continue;
    needs.set(name, [...(needs.get(name) ?? []), ...namesIn(depends)]);
    for (const provided of [name, ...namesIn(provides)]) providers.set(provided, [...(providers.get(provided) ?? []), name]);
  }
  const reached = new Set<string>();
  const waiting = [...starts];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (reached.has(name)) continue;
    reached.add(name);
    waiting.push(...(needs.get(name) ?? []).flatMap((wanted) => providers.get(wanted) ?? []));
  }
  return reached;
};

/** Those of `candidates` that the installed packages `foreign` depend on, directly or not. */
const neededBy = async (foreign: readonly string[], candidates: readonly string[]): Promise<string[]> => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the braces are dpkg-query's own.
  const format = '--showformat=${Package}\\t${Pre-Depends}, ${Depends}\\t${Provides}\\n';
  const reached = reachable((await command('dpkg-query', ['--show', format], { timeoutSeconds: 60 })).stdout, foreign);
  return candidates.filter((name) => reached.has(name));
};
