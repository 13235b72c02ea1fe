/** `npm run build`: every program as one file under out/, with a version that is the hash of its content. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type BuildOptions, build as esbuild } from 'esbuild';
import { bundleAgent } from '../agent/install/bundle.ts';
import { bundlePlugins as consoleProxyPlugins } from '../console-proxy/bundle.ts';
import { CloudError } from '../protocol/errors.ts';
import { type SystemVmKindName, systemVmKindNames } from '../protocol/kinds.ts';

const root = resolve(import.meta.dirname, '..');

/** Packages written for CommonJS ask for node's own modules by require, which a module does not have. */
const REQUIRE = "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);";

const common = {
  bundle: true,
  write: false,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  legalComments: 'none',
  logLevel: 'silent',
  absWorkingDir: root,
} as const satisfies BuildOptions;

const bundle = async (entry: string, options: BuildOptions): Promise<Uint8Array> => {
  const { outputFiles } = await esbuild({ ...common, ...options, entryPoints: [join(root, entry)] });
  const content = outputFiles?.[0]?.contents;
  if (content === undefined) throw new CloudError('Internal', `${entry} could not be bundled`);
  return content;
};

/** Whitespace only, and names kept: a stack trace of a system VM must still say where it was. */
const systemVmBundle = (kind: SystemVmKindName): Promise<Uint8Array> =>
  bundle(`${kind}/main.ts`, {
    minifyWhitespace: true,
    minifySyntax: true,
    banner: { js: REQUIRE },
    plugins: kind === 'console-proxy' ? [...consoleProxyPlugins] : [],
  });

const hashOf = (parts: readonly Uint8Array[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex').slice(0, 16);
};

/** A file that did not change is left alone; one that did is replaced whole, so that nobody ever reads half of it. */
const put = async (path: string, content: Uint8Array | string): Promise<void> => {
  const bytes = Buffer.from(content);
  const old = await readFile(path).catch(() => null);
  if (old?.equals(bytes)) return;
  await mkdir(dirname(path), { recursive: true });
  const next = `${path}.${process.pid}`;
  await writeFile(next, bytes);
  await rename(next, path);
};

export interface Built {
  readonly directory: string;
  /** `installer` is what the management server loads to put the agent onto hosts. */
  readonly agent: { readonly path: string; readonly installer: string; readonly version: string };
  /** The roles' bundles; one version for all, because they travel on one ISO. */
  readonly systemVm: { readonly paths: Readonly<Record<SystemVmKindName, string>>; readonly version: string };
  readonly management: { readonly path: string; readonly version: string };
}

export async function build(directory: string = join(root, 'out')): Promise<Built> {
  const [agent, installer, management, ...roles] = await Promise.all([
    bundleAgent(),
    bundle('agent/install/install.ts', { banner: { js: REQUIRE } }),
    bundle('management/main.ts', { packages: 'external' }),
    ...systemVmKindNames.map(systemVmBundle),
  ]);
  const pathOf = (kind: SystemVmKindName): string => join(directory, 'systemvm', `${kind}.mjs`);
  const built: Built = {
    directory,
    agent: {
      path: join(directory, 'agent', 'agent.mjs'),
      installer: join(directory, 'agent', 'install.mjs'),
      version: hashOf([agent, installer]),
    },
    systemVm: {
      paths: { 'console-proxy': pathOf('console-proxy'), 'secondary-storage': pathOf('secondary-storage'), router: pathOf('router') },
      version: hashOf(roles),
    },
    management: { path: join(directory, 'management', 'main.js'), version: hashOf([management]) },
  };
  await put(built.agent.path, agent);
  await put(built.agent.installer, installer);
  await put(built.management.path, management);
  for (const [index, content] of roles.entries()) {
    const kind = systemVmKindNames[index];
    if (kind) await put(pathOf(kind), content);
  }
  await put(
    join(directory, 'version.json'),
    `${JSON.stringify({ agent: built.agent.version, systemVm: built.systemVm.version, management: built.management.version }, null, 2)}\n`,
  );
  return built;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const started = performance.now();
  const { agent, systemVm, management } = await build();
  const size = async (path: string): Promise<string> => `${Math.ceil((await readFile(path)).length / 1024)} KiB`;
  const rows = [
    [agent.path, agent.version],
    ...Object.values(systemVm.paths).map((path) => [path, systemVm.version]),
    [management.path, management.version],
  ] as const;
  for (const [path = '', version = ''] of rows)
    console.log(`${path.slice(root.length + 1).padEnd(36)} ${(await size(path)).padStart(9)}  ${version}`);
  console.log(`built in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
