import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CloudError } from '../../protocol/errors.ts';
import { run } from '../run.ts';
import { buildSystemVmIso, versionText } from './iso.ts';
import { toCommonJs } from './start.ts';

test('the version follows from names and contents, not from their order', () => {
  const a = versionText(
    new Map([
      ['x', '1'],
      ['y', '2'],
    ]),
  );
  assert.deepEqual(
    versionText(
      new Map([
        ['y', '2'],
        ['x', '1'],
      ]),
    ),
    a,
  );
  assert.notEqual(
    versionText(
      new Map([
        ['x', '2'],
        ['y', '1'],
      ]),
    ).version,
    a.version,
  );
  assert.equal(a.text, `${a.version}\n1  x\n2  y\n`);
});

test('SV-15: the same files give the same ISO, a changed one another version', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-iso-test-'));
  try {
    const bundle = join(folder, 'role.mjs');
    await writeFile(bundle, 'console.log(1)\n');
    const bundles = { router: bundle, 'console-proxy': bundle, 'secondary-storage': bundle };
    const first = await buildSystemVmIso({ bundles, out: join(folder, 'a.iso') });
    const second = await buildSystemVmIso({ bundles, out: join(folder, 'b.iso') });
    assert.equal(first.sha256, second.sha256);
    await writeFile(bundle, 'console.log(2)\n');
    const third = await buildSystemVmIso({ bundles, out: join(folder, 'a.iso') });
    assert.notEqual(third.version, first.version);

    const listing = await run('xorriso', ['-indev', join(folder, 'a.iso'), '-pvd_info', '-find', '/', '-type', 'f'], {
      timeoutSeconds: 30,
    });
    assert.match(listing, /Volume Id\s*: NEPHOS_SYSVM/);
    for (const name of ['VERSION', 'router.mjs', 'console-proxy.mjs', 'secondary-storage.mjs'])
      assert.ok(listing.includes(`'/${name}'`), name);

    const named = (name: string): Promise<unknown> =>
      buildSystemVmIso({ bundles, extra: [{ name, source: bundle }], out: join(folder, 'c.iso') });
    for (const name of ['../x', '/x', 'VERSION', 'router.mjs', 'router.blob', 'a/../b', '-x/../..'])
      await assert.rejects(named(name), CloudError, name);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a program becomes one that the snapshot of node can run', async () => {
  const source =
    "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);\nexport const a = require('path').sep;\nconst m = import('node:fs');\nm.then(() => console.log(a));\n";
  const code = await toCommonJs(source, 'router.mjs');
  assert.ok(code.includes('file:///run/payload/router.mjs'));
  assert.doesNotMatch(code, /\bimport\s*[(.]/);
  const run = new Function('exports', 'require', 'module', code);
  const module = { exports: {} };
  run(module.exports, createRequire(import.meta.url), module);
  assert.equal(Reflect.get(module.exports, 'a'), '/');
  await assert.rejects(toCommonJs('await 1;', 'router.mjs'), CloudError);
});
