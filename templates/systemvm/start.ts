/** The quick way to start a role's program: a snapshot of node that holds the program, made by the template's own node. */
import { createHash } from 'node:crypto';
import { copyFile, link, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { transform } from 'esbuild';
import { CloudError } from '../../protocol/errors.ts';
import { parse, s } from '../../protocol/schema.ts';
import { run } from '../run.ts';

/** The role's ES module as the CommonJS text that the snapshot can run. */
export async function toCommonJs(source: string, name: string): Promise<string> {
  try {
    const { code } = await transform(source, {
      format: 'cjs',
      platform: 'node',
      target: 'node20',
      sourcefile: name,
      define: { 'import.meta.url': JSON.stringify(`file:///run/payload/${name}`) },
      // The snapshot has no loader of modules; what node brings along can be had by require as well.
      supported: { 'dynamic-import': false },
      legalComments: 'none',
      logLevel: 'silent',
    });
    return code;
  } catch (cause) {
    throw new CloudError('InvalidParameter', `${name} cannot be a role's program; it must be an ES module without await at its top level`, {
      cause,
    });
  }
}

/** Modules of node that it cannot keep in a snapshot; the program gets them when it uses them for the first time. */
const ABSENT = ['http', 'https', 'tls'];
// Code that V8 has compiled to machine code would tie the snapshot to one model of CPU.
const CONFIGURATION = JSON.stringify({ builder: '/start.cjs', withoutCodeCache: true });
const MemberNames = s.record(s.list(s.string({ max: 100 }), { max: 1000 }), { max: 100 });

const inRuntime = (folder: string, words: readonly string[]): Promise<string> =>
  run('chroot', [folder, '/usr/bin/node', ...words], { timeoutSeconds: 120, environment: { NODE_NO_WARNINGS: '1' } });

/** A folder of its own to work in, with the files of `runtime` linked into it. */
async function linkTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await linkTree(source, target);
    else await link(source, target);
  }
}

export interface StartOptions {
  /** Where the template was built; the snapshots are kept there. */
  readonly directory: string;
  /** The template's node with all that it needs, in a folder to change the root to. */
  readonly runtime: string;
  readonly source: string;
  /** The program's file name on the payload. */
  readonly name: string;
}

/** Path of the snapshot for a program. The same program gives the same file, since what node makes of it differs each time. */
export async function buildStart({ directory, runtime, source, name }: StartOptions): Promise<string> {
  const code = await toCommonJs(source, name);
  const builder = await readFile(new URL('start.cjs', import.meta.url), 'utf8');
  const hash = createHash('sha256').update(JSON.stringify([builder, CONFIGURATION, ABSENT, name, code]));
  const folder = join(directory, 'start');
  const finished = join(folder, `${hash.digest('hex').slice(0, 32)}.blob`);
  if ((await stat(finished).catch(() => null)) !== null) return finished;
  await mkdir(folder, { recursive: true });
  const work = await mkdtemp(join(directory, '.start-'));
  try {
    await linkTree(runtime, work);
    const listing = `process.stdout.write(JSON.stringify(Object.fromEntries(${JSON.stringify(ABSENT)}.map((name) => [name, Object.keys(require(name))]))))`;
    const absent = parse(MemberNames, JSON.parse(await inRuntime(work, ['-e', listing])), 'the names of the members of modules');
    await Promise.all([
      writeFile(join(work, 'start.cjs'), builder),
      writeFile(join(work, 'build.json'), CONFIGURATION),
      writeFile(join(work, 'start.json'), JSON.stringify({ filename: `/run/payload/${name}`, code, absent })),
    ]);
    await inRuntime(work, ['--snapshot-blob', '/start.blob', '--build-snapshot-config', '/build.json']);
    const part = `${finished}.${process.pid}.part`;
    await copyFile(join(work, 'start.blob'), part);
    await rename(part, finished);
    return finished;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
