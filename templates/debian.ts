/** Makes Debian root file systems and turns them into disk images, without mounting anything. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { CloudError } from '../protocol/errors.ts';
import { aptOptions, debianSourceLines } from './mirror.ts';
import { run, runForBytes } from './run.ts';

export interface BuildProgress {
  /** From 0 to 1. */
  readonly fraction: number;
  readonly step: string;
}
export type OnProgress = (progress: BuildProgress) => void;

/** A file that a recipe puts into the root file system. */
export interface RootFile {
  readonly path: string;
  readonly content: string;
  readonly mode?: number;
}

/** Everything a build writes carries this time, so that two builds differ only where packages do. */
export const SOURCE_DATE_EPOCH = 1_735_689_600;

export const buildEnvironment = { SOURCE_DATE_EPOCH: String(SOURCE_DATE_EPOCH), E2FSPROGS_FAKE_TIME: String(SOURCE_DATE_EPOCH) };

// Documentation and translations have no reader inside an appliance; licences stay.
const EXCLUDED = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/info/*', '/usr/share/locale/*', '/usr/share/lintian/*'];
const KEPT = ['/usr/share/doc/*/copyright', '/usr/share/locale/locale.alias'];

export interface RootOptions {
  readonly directory: string;
  readonly release: string;
  readonly packages: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly onProgress: OnProgress;
}

// What mmdebstrap says when it begins each of its parts, with the share of the whole that is done by then.
const MILESTONES: readonly (readonly [RegExp, number, string])[] = [
  [/running apt-get update/, 0.02, 'reading package lists'],
  [/downloading packages/, 0.1, 'downloading packages'],
  [/extracting archives/, 0.2, 'unpacking the essential packages'],
  [/installing essential/, 0.3, 'installing the essential packages'],
  [/installing remaining/, 0.5, 'installing packages'],
  [/cleaning package lists/, 0.95, 'cleaning up'],
];

/** Installs `packages` of Debian's `release` into a new directory. */
export async function makeRoot({ directory, release, packages, environment = buildEnvironment, onProgress }: RootOptions): Promise<void> {
  const [sources, options] = await Promise.all([debianSourceLines(release), aptOptions()]);
  const dpkgOptions = [...EXCLUDED.map((path) => `path-exclude=${path}`), ...KEPT.map((path) => `path-include=${path}`)];
  await run(
    'mmdebstrap',
    [
      '--variant=minbase',
      '--mode=root',
      '--format=directory',
      '--aptopt=APT::Install-Recommends "false";',
      ...options.map((line) => `--aptopt=${line}`),
      ...dpkgOptions.map((line) => `--dpkgopt=${line}`),
      `--include=${packages.join(',')}`,
      release,
      directory,
      ...sources,
    ],
    {
      timeoutSeconds: 1800,
      environment,
      onLine: (line) => {
        const milestone = MILESTONES.find(([pattern]) => pattern.test(line));
        if (milestone) onProgress({ fraction: milestone[1], step: milestone[2] });
      },
    },
  );
  await removeTraces(directory);
}

const emptied = ['var/log', 'var/lib/apt/lists', 'var/cache/apt', 'var/cache/debconf', 'var/cache/ldconfig', 'tmp', 'run', 'var/tmp'];
const removed = [
  'etc/apt/sources.list.d',
  'etc/apt/sources.list',
  'etc/apt/apt.conf.d/99mmdebstrap',
  'etc/dpkg/dpkg.cfg.d/99mmdebstrap',
  'etc/hostname',
  'etc/resolv.conf',
  'var/lib/dbus/machine-id',
  'var/lib/systemd/random-seed',
  'etc/.pwd.lock',
];

/** Takes out what tells of the build or would be the same on every machine made of the image. */
async function removeTraces(root: string): Promise<void> {
  const contentsOf = async (folder: string): Promise<string[]> =>
    (await readdir(join(root, folder)).catch(() => [])).map((name) => join(root, folder, name));
  const backups = (await contentsOf('etc')).filter((path) => path.endsWith('-'));
  const oldLists = (await contentsOf('var/lib/dpkg')).filter((path) => path.endsWith('-old'));
  const hostKeys = (await contentsOf('etc/ssh')).filter((path) => /ssh_host_/.test(path));
  const caches = (await Promise.all(emptied.map(contentsOf))).flat();
  const paths = [...backups, ...oldLists, ...hostKeys, ...caches, ...removed.map((path) => join(root, path))];
  await Promise.all(paths.map((path) => rm(path, { recursive: true, force: true })));
  await writeFile(join(root, 'etc/machine-id'), '');
}

export async function writeRootFiles(root: string, files: readonly RootFile[]): Promise<void> {
  for (const { path, content, mode = 0o644 } of files) {
    const target = join(root, path);
    await mkdir(dirname(target), { recursive: true });
    await rm(target, { force: true });
    await writeFile(target, content);
    await chmod(target, mode);
  }
}

/** `name version` of every installed package, sorted: the image's bill of materials. */
export async function packageManifest(root: string): Promise<string> {
  const list = await run(
    'dpkg-query',
    [
      `--admindir=${join(root, 'var/lib/dpkg')}`,
      '--show',
      '--showformat',
      `${['Package', 'Version', 'Architecture'].map((field) => `$\{${field}}`).join(' ')}\n`,
    ],
    { timeoutSeconds: 30 },
  );
  return list
    .split('\n')
    .filter((line) => line !== '')
    .sort()
    .concat('')
    .join('\n');
}

export interface KernelFiles {
  readonly version: string;
  readonly vmlinuz: string;
  readonly modulesDirectory: string;
}

export async function kernelOf(root: string): Promise<KernelFiles> {
  const names = (await readdir(join(root, 'boot'))).filter((name) => name.startsWith('vmlinuz-'));
  const [name] = names;
  if (name === undefined || names.length > 1) throw new CloudError('Internal', 'the root file system should have one kernel', { names });
  const version = name.slice('vmlinuz-'.length);
  return { version, vmlinuz: join(root, 'boot', name), modulesDirectory: join(root, 'usr/lib/modules', version) };
}

export interface KernelModule {
  readonly name: string;
  readonly content: Buffer;
}

/** The order in which `names` and what they depend on can be loaded, by the kernel's own list of dependencies (`modules.dep`). */
export function loadingOrder(dependencies: string, names: readonly string[]): string[] {
  const nameOf = (path: string): string => (path.split('/').at(-1) ?? '').replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_');
  const byName = new Map<string, { path: string; needs: string[] }>();
  for (const line of dependencies.split('\n')) {
    const [path, needs = ''] = line.split(':');
    if (path)
      byName.set(nameOf(path), {
        path,
        needs: needs
          .split(' ')
          .filter((need) => need !== '')
          .map(nameOf),
      });
  }
  const order: string[] = [];
  const visit = (name: string): void => {
    const module = byName.get(name);
    if (module === undefined) throw new CloudError('Internal', `the kernel has no module ${name}`);
    for (const need of module.needs) visit(need);
    if (!order.includes(module.path)) order.push(module.path);
  };
  for (const name of names) visit(name.replaceAll('-', '_'));
  return order;
}

/** The modules, unpacked, in an order in which they can be loaded. */
export async function kernelModules({ modulesDirectory }: KernelFiles, names: readonly string[]): Promise<KernelModule[]> {
  const order = loadingOrder(await readFile(join(modulesDirectory, 'modules.dep'), 'utf8'), names);
  return Promise.all(
    order.map(async (path) => {
      const file = join(modulesDirectory, path);
      const name = (path.split('/').at(-1) ?? '').replace(/\.xz$/, '');
      const content = path.endsWith('.xz')
        ? await runForBytes('xz', ['--decompress', '--stdout', '--', file], { timeoutSeconds: 30 })
        : await readFile(file);
      return { name, content };
    }),
  );
}

export interface FileSystemOptions {
  readonly root: string;
  readonly image: string;
  readonly label: string;
  readonly uuid: string;
  readonly sizeMib: number;
  /** Where the file system begins inside `image`, for an image that has a partition table; the file has to exist then. */
  readonly offsetBytes?: number;
  readonly features?: string;
}

/** Writes an ext4 file system with the content of `root`. */
export async function makeFileSystem({ root, image, label, uuid, sizeMib, offsetBytes = 0, features }: FileSystemOptions): Promise<void> {
  const extended = ['root_owner=0:0', `hash_seed=${uuid}`, ...(offsetBytes === 0 ? [] : [`offset=${offsetBytes}`])];
  await run(
    'mke2fs',
    [
      ...['-q', '-F', '-t', 'ext4', '-L', label, '-U', uuid, '-m', '0', '-J', 'size=8'],
      ...['-E', extended.join(','), ...(features === undefined ? [] : ['-O', features]), '-d', root],
      ...['--', image, `${sizeMib}M`],
    ],
    { timeoutSeconds: 300, environment: buildEnvironment },
  );
}

export async function convertToQcow2(raw: string, qcow2: string): Promise<void> {
  await run('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', 'compression_type=zstd', '--', raw, qcow2], {
    timeoutSeconds: 600,
  });
}

export async function fileSha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
