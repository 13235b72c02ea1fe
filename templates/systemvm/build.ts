/** Builds the one system VM template: `npx tsx templates/systemvm/build.ts --var var`. */
import { copyFile, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CloudError } from '../../protocol/errors.ts';
import { cpio } from '../cpio.ts';
import {
  convertToQcow2,
  type KernelFiles,
  kernelModules,
  kernelOf,
  makeFileSystem,
  makeRoot,
  type OnProgress,
  packageManifest,
  writeRootFiles,
} from '../debian.ts';
import { builtOnce, recipeHash } from '../recipe.ts';
import { run } from '../run.ts';
import { systemVmRootLabel } from './boot.ts';
import { packages, unexpectedPackages } from './packages.ts';
import { initrdInit, rootFiles } from './root.ts';

export interface SystemVmTemplate {
  /** Of the recipe. */
  readonly hash: string;
  readonly directory: string;
  /** Root disk; machines get overlays of it. */
  readonly qcow2: string;
  readonly kernel: string;
  readonly initrd: string;
  /** Node of the template with all that it needs, to make the quick start of programs with. */
  readonly runtime: string;
  /** Text file with one package per line. */
  readonly manifest: string;
}

const RELEASE = 'trixie';
const DISK_MIB = 2048;
const DISK_UUID = '6f1d2f0e-52a4-4c0b-9b57-0d5c1f6e7a01';
// To be raised when the way of building changes and not what goes in.
const RECIPE_VERSION = 2;
// In the initrd, unpacked: the disk, the payload, the network cards, the power button and a source of randomness.
const BOOT_MODULES = ['virtio_blk', 'isofs', 'virtio_net', 'virtio_rng', 'button', 'evdev'];

export async function systemVmRecipe(): Promise<string> {
  return recipeHash({
    version: RECIPE_VERSION,
    release: RELEASE,
    diskMib: DISK_MIB,
    uuid: DISK_UUID,
    label: systemVmRootLabel,
    packages,
    bootModules: BOOT_MODULES,
    initrdInit: await initrdInit(),
    files: (await rootFiles()).map(({ path, content, mode = null }) => ({ path, content, mode })),
  });
}

async function makeInitrd(root: string, kernel: KernelFiles): Promise<Buffer> {
  const modules = await kernelModules(kernel, BOOT_MODULES);
  return cpio([
    ...['bin', 'dev', 'modules', 'root'].map((path) => ({ kind: 'directory' as const, path })),
    { kind: 'character device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', content: await readFile(join(root, 'usr/bin/busybox')), mode: 0o755 },
    ...modules.map(({ name, content }) => ({ kind: 'file' as const, path: `modules/${name}`, content })),
    { kind: 'file', path: 'modules/order', content: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')) },
    { kind: 'file', path: 'init', content: Buffer.from(await initrdInit()), mode: 0o755 },
  ]);
}

/** What node reads when it starts, beside the libraries that its program is linked with. */
const NODE_FOLDERS = ['acorn', 'acorn-walk', 'cjs-module-lexer', 'minimatch', 'undici'].map((name) => `/usr/share/nodejs/${name}`);

/** Links node and what it needs out of the root file system into a folder of its own. */
async function takeRuntime(root: string, runtime: string): Promise<void> {
  const inRoot = (words: readonly string[]): Promise<string> => run('chroot', [root, ...words], { timeoutSeconds: 60 });
  const libraries = (await inRoot(['/usr/bin/ldd', '/usr/bin/node'])).match(/\/\S+/g) ?? [];
  const part = join(root, 'runtime');
  await mkdir(part);
  const files = ['/usr/bin/node', ...libraries.filter((path) => path.startsWith('/lib')), ...NODE_FOLDERS];
  await inRoot(['/usr/bin/cp', '--recursive', '--dereference', '--link', '--parents', '--target-directory=/runtime', '--', ...files]);
  await rename(part, runtime);
}

async function build(directory: string, onProgress: OnProgress): Promise<void> {
  const root = join(directory, 'root');
  const raw = join(directory, 'disk.raw');
  await makeRoot({
    directory: root,
    release: RELEASE,
    packages,
    onProgress: ({ fraction, step }) => onProgress({ fraction: fraction * 0.8, step }),
  });
  const manifest = await packageManifest(root);
  const unexpected = unexpectedPackages(manifest);
  if (unexpected.length > 0) {
    throw new CloudError('Internal', `the system VM template would hold packages that nobody has allowed: ${unexpected.join(', ')}`);
  }
  await writeFile(join(directory, 'manifest.txt'), manifest);

  onProgress({ fraction: 0.8, step: 'making the kernel and initrd' });
  await writeRootFiles(root, await rootFiles());
  await takeRuntime(root, join(directory, 'runtime'));
  const kernel = await kernelOf(root);
  await copyFile(kernel.vmlinuz, join(directory, 'vmlinuz'));
  await writeFile(join(directory, 'initrd'), await makeInitrd(root, kernel));
  // The machine boots from the files beside the disk; a second kernel inside would only be a larger disk.
  await rm(join(root, 'boot'), { recursive: true });

  onProgress({ fraction: 0.84, step: 'making the disk' });
  await makeFileSystem({ root, image: raw, label: systemVmRootLabel, uuid: DISK_UUID, sizeMib: DISK_MIB });
  onProgress({ fraction: 0.9, step: 'compressing the disk' });
  await convertToQcow2(raw, join(directory, 'disk.qcow2'));
  await Promise.all([rm(root, { recursive: true }), rm(raw)]);
  onProgress({ fraction: 1, step: 'done' });
}

export interface SystemVmTemplateOptions {
  readonly varDir: string;
  readonly onProgress?: OnProgress;
}

/** Builds the template, or finds it built already. */
export async function buildSystemVmTemplate({ varDir, onProgress = () => {} }: SystemVmTemplateOptions): Promise<SystemVmTemplate> {
  const hash = await systemVmRecipe();
  const directory = await builtOnce(resolve(varDir, 'templates/systemvm'), hash, (part) => build(part, onProgress));
  const file = (name: string): string => join(directory, name);
  return {
    hash,
    directory,
    qcow2: file('disk.qcow2'),
    kernel: file('vmlinuz'),
    initrd: file('initrd'),
    runtime: file('runtime'),
    manifest: file('manifest.txt'),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { var: { type: 'string', default: 'var' } } });
  const template = await buildSystemVmTemplate({
    varDir: values.var,
    onProgress: ({ fraction, step }) => process.stderr.write(`${String(Math.round(fraction * 100)).padStart(3)} %  ${step}\n`),
  });
  const { size } = await stat(template.qcow2);
  process.stdout.write(`${JSON.stringify({ ...template, sizeBytes: size }, null, 2)}\n`);
}
