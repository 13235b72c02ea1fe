/** Makes `systemvm.iso`, the read-only disk that carries the roles' programs into a machine of the system VM template. */
import { createHash } from 'node:crypto';
import { chmod, lutimes, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';
import { buildEnvironment, fileSha256, SOURCE_DATE_EPOCH } from '../debian.ts';
import { run } from '../run.ts';
import { type SystemVmType, systemVmIsoLabel, systemVmTypes } from './boot.ts';
import { buildStart } from './start.ts';

export interface IsoFile {
  /** Plain name or relative path inside the ISO. */
  readonly name: string;
  /** Path of the file to copy. */
  readonly source: string;
}

export interface SystemVmIsoOptions {
  /** The role's program, by type: one ES module with everything in it and without `await` at its top level. */
  readonly bundles: Readonly<Record<SystemVmType, string>>;
  /** The template it is for: its node makes the quick start of each program. Without it the programs start the ordinary way. */
  readonly template?: { readonly directory: string; readonly runtime: string };
  readonly extra?: readonly IsoFile[];
  readonly out: string;
}

export interface SystemVmIso {
  readonly path: string;
  readonly sha256: string;
  /** SHA-256 over the names and contents of all files; the same line is in the file `VERSION` on the ISO. */
  readonly version: string;
}

const SAFE_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;
const RESERVED_NAMES = ['VERSION', ...systemVmTypes.map((type) => `${type}.blob`)];

/** The text of `VERSION`: the version, then the digest of each file, in the order of their names. */
export function versionText(digests: ReadonlyMap<string, string>): { readonly version: string; readonly text: string } {
  const lines = [...digests].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, digest]) => `${digest}  ${name}\n`);
  const version = createHash('sha256').update(lines.join('')).digest('hex');
  return { version, text: `${version}\n${lines.join('')}` };
}

/** Writes the ISO; the same files give the same bytes. */
export async function buildSystemVmIso({ bundles, template, extra = [], out }: SystemVmIsoOptions): Promise<SystemVmIso> {
  const files = [...systemVmTypes.map((type) => ({ name: `${type}.mjs`, source: bundles[type] })), ...extra];
  const names = files.map(({ name }) => name);
  for (const name of names) {
    if (!SAFE_NAME.test(name) || RESERVED_NAMES.includes(name) || names.indexOf(name) !== names.lastIndexOf(name)) {
      throw new CloudError('InvalidParameter', `${JSON.stringify(name)} cannot be the name of a file on the system VM ISO`);
    }
  }
  const stage = await mkdtemp(join(tmpdir(), 'nephos-iso-'));
  const part = `${out}.${process.pid}.part`;
  try {
    const root = join(stage, 'root');
    await mkdir(root);
    const digests = new Map<string, string>();
    const written: string[] = [];
    const add = async (name: string, content: Uint8Array): Promise<void> => {
      const path = join(root, name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, content);
      await chmod(path, 0o444);
      written.push(path);
    };
    for (const { name, source } of files) {
      const content = await readFile(source);
      digests.set(name, createHash('sha256').update(content).digest('hex'));
      await add(name, content);
    }
    if (template !== undefined)
      for (const type of systemVmTypes) {
        const blob = await buildStart({ ...template, source: await readFile(bundles[type], 'utf8'), name: `${type}.mjs` });
        await add(`${type}.blob`, await readFile(blob));
      }
    const { version, text } = versionText(digests);
    await add('VERSION', Buffer.from(text));
    const folders = new Set([root, ...written.map((path) => dirname(path))]);
    await Promise.all([...written, ...folders].map((path) => lutimes(path, SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH)));

    await mkdir(dirname(out), { recursive: true });
    await run('xorriso', ['-as', 'mkisofs', '-quiet', '-V', systemVmIsoLabel, '-r', '-o', part, root], {
      timeoutSeconds: 120,
      environment: buildEnvironment,
    });
    await rename(part, out);
    return { path: out, sha256: await fileSha256(out), version };
  } finally {
    await Promise.all([rm(stage, { recursive: true, force: true }), rm(part, { force: true })]);
  }
}
