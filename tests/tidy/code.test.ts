/** Rules for the text of the code, each drawn from docs/principles.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { code, files, folderOf, isTestCode, places, product, read, withoutComments } from './sources.ts';

const nowhere = (paths: readonly string[], pattern: RegExp, excused: readonly string[] = []): void =>
  assert.deepEqual(
    paths.filter((path) => !excused.includes(path)).flatMap((path) => places(path, pattern)),
    [],
  );

test('comments are taken away, texts and regular expressions are not', () => {
  const text = "const a = 'x // y'; // gone\nconst b = /[/'\"]/.test(a); /* gone\n too */ const c = `//a`;";
  assert.equal(withoutComments(text).replace(/ +/g, ' '), "const a = 'x // y'; \nconst b = /[/'\"]/.test(a); \n const c = `//a`;");
});

test('no decorators, enumerations, namespaces or parameter properties', () => {
  nowhere(code, /^\s*@[A-Za-z_]\w*(\(|\s*$)/m);
  nowhere(code, /^\s*(export\s+)?(declare\s+)?(const\s+)?enum\s/m);
  nowhere(code, /^\s*(export\s+)?(declare\s+)?namespace\s/m);
  nowhere(code, /constructor\([^)]*\b(private|public|protected)\b/);
});

test('no plain errors outside tests: a CloudError says what kind it is', () => {
  nowhere(
    product.filter((path) => !path.endsWith('.mjs')),
    /\bnew Error\(/,
  );
});

test('nothing runs through a shell', () => {
  nowhere(code, /\bshell:\s*true/);
  nowhere(code, /(?<![.\w])(exec|execSync)\(\s*[`'"]/);
  nowhere(code, /import\s*\{[^}]*\b(exec|execSync)\b[^}]*\}\s*from 'node:child_process'/);
  nowhere(product, /\(\s*['"`](\/bin\/)?(ba|da)?sh['"`]\s*,\s*\[\s*['"`]-l?c/);
});

test('no any, no suppressed type errors', () => {
  nowhere(product, /\bas any\b|:\s*any\b(?=\s*[,;)=\]>])|<any>/);
  assert.deepEqual(
    code
      .flatMap((path) => places(path, /@ts-(ignore|nocheck|expect-error)/, read(path)))
      .filter((place) => !place.startsWith('tests/tidy/')),
    [],
  );
});

test('no test is skipped, singled out or left for later', () => {
  const tests = code.filter((path) => isTestCode(path) && path !== 'tests/tidy/runner.test.ts');
  nowhere(tests, /\b(test|it|describe|suite)\.(skip|only|todo)\(|\bt\.(skip|todo)\(/);
  nowhere(tests, /\{[^{}]*\b(todo|only):\s*(true|['"`])/);
});

test('no work is left for later in a comment', () => {
  assert.deepEqual(
    code.filter((path) => !path.startsWith('tests/tidy/')).flatMap((path) => places(path, /\b(TODO|FIXME|XXX|HACK)\b/, read(path))),
    [],
  );
});

test('programs log; only commands of the terminal print', () => {
  const delivered = product.filter((path) => !['lab', 'tools', 'templates'].includes(folderOf(path)));
  nowhere(delivered, /\bconsole\.(log|error|warn|info|debug)\(/, ['agent/main.ts']);
});

test('SV-21 the well-known password of old system VMs stands nowhere in what is delivered', () => {
  const known = ['6m1', 'll10n'].join('');
  const texts = files.filter((path) => folderOf(path) !== 'tests' && !/\.(png|ico|woff2?)$/.test(path));
  assert.deepEqual(
    texts.filter((path) => read(path).includes(known)),
    [],
  );
});

test('no names of mirrors and registries: a machine has its own', () => {
  const hosts = new RegExp(['deb\\.deb', 'ian\\.org|registry\\.npm', 'js\\.org|registry\\.yarn', 'pkg\\.com'].join(''));
  assert.deepEqual(
    files.filter((path) => hosts.test(read(path))),
    [],
  );
});

test('the lock file knows every package that another platform would take; npm ci refuses one that does not', () => {
  const packages: Record<string, { optionalDependencies?: Record<string, string> }> = JSON.parse(read('package-lock.json')).packages;
  const unknown = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !packages[`node_modules/${name}`] && !packages[`${path}/node_modules/${name}`]),
  );
  assert.deepEqual(unknown, []);
});

test('the lock file names no place that packages came from', () => {
  const lock = read('package-lock.json');
  assert.equal(/"resolved"/.test(lock), false);
  assert.equal(
    /https?:\/\/(?!(www\.)?(github\.com|opencollective\.com|paypal|patreon|tidelift|ko-fi|feross|buymeacoffee))[^"]*\.tgz/.test(lock),
    false,
  );
});
