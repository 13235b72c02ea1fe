/** What has to be the same in several places, and what has to be on a list. */
import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { test } from 'node:test';
import { allAreas } from '../../management/areas.ts';
import type { Area } from '../../management/core/area.ts';
import { everyTable } from '../../management/server.ts';
import { systemVmKindNames } from '../../protocol/kinds.ts';
import { offeredRegistry } from '../../tools/offered.ts';
import { code, files, product, read } from './sources.ts';

const areas: readonly Area[] = allAreas(offeredRegistry);
const twice = (names: readonly string[]): string[] => names.filter((name, index) => names.indexOf(name) !== index);

/** Files that are part of all services rather than one of them. */
const common = new Set(['index', 'rows', 'contribution']);
const namesUnder = (folder: string): string[] => {
  const names = files
    .filter((path) => path.startsWith(`${folder}/`) && !path.endsWith('.test.ts'))
    .map((path) => (path.slice(folder.length + 1).split('/')[0] ?? '').replace(/\.ts$/, ''));
  return [...new Set(names)].filter((name) => !common.has(name)).sort();
};

test('a network service has one name in three places', () => {
  const names = namesUnder('protocol/network-services');
  assert.ok(names.length > 0);
  assert.deepEqual(namesUnder('management/network/services'), names);
  assert.deepEqual(namesUnder('router/services'), names);
});

test('no two areas, sagas, reconcilers, settings or tables share a name', () => {
  assert.deepEqual(twice(areas.map(({ name }) => name)), []);
  assert.deepEqual(twice(areas.flatMap(({ sagas }) => sagas.map(({ name }) => name))), []);
  assert.deepEqual(twice(areas.flatMap(({ reconcilers }) => reconcilers.map(({ name }) => name))), []);
  assert.deepEqual(twice(areas.flatMap(({ settings }) => settings.map(({ name }) => name))), []);
  assert.deepEqual(twice(everyTable(areas).map((table) => table.options.name)), []);
});

test('every area has its folder and stands on the list', () => {
  const named = new Set(areas.map(({ name }) => name));
  const folders = [...new Set(product.flatMap((path) => /^management\/([^/]+)\/index\.ts$/.exec(path)?.[1] ?? []))];
  assert.deepEqual(
    folders.filter((folder) => folder !== 'migrations' && !named.has(folder)),
    [],
  );
  assert.equal(folders.filter((folder) => folder !== 'migrations').length, areas.length);
});

test('every saga, reconciler and command that is written is on the list of its area', () => {
  const written = (kind: string): string[] =>
    product
      .filter((path) => path.startsWith('management/') && !path.startsWith('management/core/'))
      .flatMap((path) =>
        [...read(path).matchAll(new RegExp(`= ${kind}(?:<[^(]*>)?\\(\\{\\s*name: '([\\w.-]+)'`, 'g'))].map(([, name = '']) => name),
      );
  const sagas = new Set(areas.flatMap((area) => area.sagas.map(({ name }) => name)));
  const reconcilers = new Set(areas.flatMap((area) => area.reconcilers.map(({ name }) => name)));
  const commands = new Set(areas.flatMap((area) => area.commands.map(({ name }) => name)));
  assert.ok(written('command').length > 50 && written('saga').length > 5 && written('reconciler').length > 5);
  assert.deepEqual(
    written('saga').filter((name) => !sagas.has(name)),
    [],
  );
  assert.deepEqual(
    written('reconciler').filter((name) => !reconcilers.has(name)),
    [],
  );
  assert.deepEqual(
    written('command').filter((name) => !commands.has(name)),
    [],
  );
});

test('every table that is declared is on the list of its area', () => {
  const declared = product
    .filter((path) => path.startsWith('management/'))
    .flatMap((path) => [...read(path).matchAll(/= table<[^;]*?>\(\s*'(\w+)'/g)].map(([, name = '']) => name));
  const listed = new Set(everyTable(areas).map((table) => table.options.name));
  assert.ok(declared.length > 20);
  assert.deepEqual(
    declared.filter((name) => !listed.has(name)),
    [],
  );
});

test('every kind of system VM is built', () => {
  const defined = files.filter((path) => basename(path) === 'definition.ts').map((path) => path.split('/')[0]);
  assert.deepEqual([...defined].sort(), [...systemVmKindNames].sort());
  for (const kind of systemVmKindNames) assert.ok(code.includes(`${kind}/main.ts`), kind);
});
