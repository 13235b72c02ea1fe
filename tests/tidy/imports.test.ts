/** Who may import whom. The tables are those of docs/architecture.md. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { code, files, folderOf, type Import, importsOf, isTestCode, product, repository } from './sources.ts';

const anything = ['*'];
/** Top-level folder to the folders it may import, besides its own. */
const folders: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  systemvm: ['protocol'],
  'console-proxy': ['protocol', 'systemvm'],
  'secondary-storage': ['protocol', 'systemvm'],
  router: ['protocol', 'systemvm'],
  agent: ['protocol'],
  management: ['protocol'],
  templates: ['protocol'],
  lab: anything,
  tools: anything,
  tests: anything,
  bench: anything,
};
const systemVmKinds = ['console-proxy', 'secondary-storage', 'router'];
const areas = ['core', 'account', 'infra', 'offering', 'template', 'storage', 'network', 'machine', 'systemvm', 'vm'];
/** Stands beside the ladder: commands about the machinery itself, which know no area but accounts. */
const meta = 'meta';

/** Where a package may be imported: files, or folders with a slash at the end. Tests may import any. */
const packages: Readonly<Record<string, readonly string[]>> = {
  '@novnc/novnc': ['console-proxy/page/'],
  bull: ['management/core/jobs.ts'],
  esbuild: ['tools/', 'lab/', 'agent/install/bundle.ts', 'console-proxy/bundle.ts', 'console-proxy/page/build.ts', 'templates/'],
  express: ['management/core/http.ts'],
  'fast-xml-parser': ['management/core/wire.ts'],
  'http-proxy': ['management/systemvm/console-mount.ts'],
  'ipaddr.js': ['management/core/certificates.ts', 'secondary-storage/download/address.ts'],
  mysql2: ['lab/'],
  'node-forge': ['management/core/certificates.ts'],
  pino: ['protocol/log.ts'],
  'prom-client': ['management/core/metrics.ts'],
  ssh2: ['management/core/ssh-key.ts', 'management/infra/ssh.ts', 'management/vm/commands/ssh-key-pairs.ts'],
  typeorm: ['management/', 'tools/'],
  ws: ['protocol/link/', 'console-proxy/'],
  zod: ['protocol/', 'agent/json.ts', 'agent/networking/links.ts', 'lab/', 'tools/'],
};

const show = ({ from, to }: Import): string => `${from} imports ${to}`;
const local = (path: string): Import[] => importsOf(path).filter(({ isPackage }) => !isPackage);
const areaOf = (path: string): string => (folderOf(path) === 'management' && path.split('/').length > 2 ? (path.split('/')[1] ?? '') : '');

test('every top-level folder of code has its rule', () => {
  const found = [...new Set(code.filter((path) => path.includes('/')).map(folderOf))].sort();
  assert.deepEqual(
    found.filter((folder) => !folders[folder]),
    [],
  );
});

test('every import leads to a file that exists', () => {
  const existing = new Set(files);
  assert.deepEqual(
    code
      .flatMap(local)
      .filter(({ to }) => !existing.has(to))
      .map(show),
    [],
  );
});

test('folders import only what stands below them', () => {
  const forbidden = product.flatMap(local).filter(({ from, to }) => {
    const [mine, theirs] = [folderOf(from), folderOf(to)];
    if (mine === theirs || to === 'package.json') return false;
    if (mine === 'management' && systemVmKinds.includes(theirs)) return to !== `${theirs}/definition.ts`;
    const allowed = folders[mine] ?? [];
    return allowed !== anything && !allowed.includes(theirs);
  });
  assert.deepEqual(forbidden.map(show), []);
});

test('what is delivered imports no tests', () => {
  const delivered = product.filter((path) => !['lab', 'tools'].includes(folderOf(path)));
  assert.deepEqual(
    delivered
      .flatMap(local)
      .filter(({ to }) => isTestCode(to))
      .map(show),
    [],
  );
  assert.deepEqual(
    product
      .flatMap(local)
      .filter(({ to }) => /\.(test|testing|e2e)\.ts$/.test(to))
      .map(show),
    [],
  );
});

test('areas of the management server import only what stands left of them', () => {
  const rank = (area: string): number => (area === meta ? areas.indexOf('account') + 0.5 : areas.indexOf(area));
  const inside = product.filter((path) => areaOf(path) !== '' && areaOf(path) !== 'migrations');
  assert.deepEqual(
    [...new Set(inside.map(areaOf))].filter((area) => rank(area) === -1),
    [],
  );
  const forbidden = inside.flatMap(local).filter(({ from, to }) => {
    // The process's own settings stand beside the wiring and below everything.
    if (folderOf(to) !== 'management' || to === 'management/config.ts' || areaOf(to) === areaOf(from)) return false;
    return areaOf(to) === '' || rank(areaOf(to)) > rank(areaOf(from));
  });
  assert.deepEqual(forbidden.map(show), []);
});

test('of another area only index.ts is imported, except for the machinery', () => {
  const forbidden = product.flatMap(local).filter(({ from, to }) => {
    const area = areaOf(to);
    if (folderOf(from) !== 'management' || area === '' || area === 'core' || area === areaOf(from)) return false;
    return to !== `management/${area}/index.ts`;
  });
  assert.deepEqual(forbidden.map(show), []);
});

test('a package is imported in its own places only', () => {
  const forbidden = product
    .flatMap(importsOf)
    .filter(
      ({ from, to, isPackage }) =>
        isPackage && !(packages[to] ?? []).some((place) => (place.endsWith('/') ? from.startsWith(place) : from === place)),
    );
  assert.deepEqual(forbidden.map(show), []);
});

test('every dependency is used', () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as Record<
    string,
    Record<string, string>
  >;
  const imported = new Set(
    code
      .flatMap(importsOf)
      .filter(({ isPackage }) => isPackage)
      .map(({ to }) => to),
  );
  // Programs and types, which are used without being imported.
  const used = (name: string): boolean =>
    imported.has(name) || name.startsWith('@types/') || ['tsx', 'typescript', '@biomejs/biome'].includes(name);
  assert.deepEqual(
    Object.keys({ ...dependencies, ...devDependencies }).filter((name) => !used(name)),
    [],
  );
});
