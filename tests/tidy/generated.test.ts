/** What is written by a program is as that program would write it now. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { apiPages } from '../../tools/api-docs.ts';
import { featuresPage, proofsByRow, readRows, resultOf, rowsIn } from '../../tools/features.ts';
import { offeredCommands } from '../../tools/offered.ts';
import { missingStatements } from '../../tools/tables.ts';
import { code, files, read, repository } from './sources.ts';

test('the pages of the API are up to date; npm run api-docs writes them', () => {
  const pages = apiPages(offeredCommands());
  const kept = files.filter((path) => path.startsWith('docs/api/'));
  assert.deepEqual(kept, [...pages.keys()].map((name) => `docs/api/${name}`).sort());
  for (const [name, text] of pages) assert.equal(read(`docs/api/${name}`) === text, true, `docs/api/${name} is out of date`);
});

test('the migrations make the tables that the code declares; npm run migration writes the next', async () => {
  assert.deepEqual((await missingStatements()).up, []);
});

describe('features', () => {
  test('the rows are whole', async () => {
    const ids = (await readRows()).map(({ id }) => id);
    assert.equal(ids.length, 203);
    assert.equal(new Set(ids).size, 203);
  });

  test('titles of tests name rows that exist', async () => {
    const ids = new Set((await readRows()).map(({ id }) => id));
    const areas = new Set([...ids].map((id) => id.slice(0, 2)));
    const titles = code
      .filter((path) => /\.(test|e2e)\.ts$/.test(path) && !path.startsWith('tests/tidy/'))
      .flatMap((path) => [...read(path).matchAll(/\b(?:test|it|describe|suite)\(\s*(['"`])(.*?)\1/g)].map(([, , title = '']) => title));
    assert.ok(titles.length > 100);
    assert.deepEqual(
      titles.flatMap(rowsIn).filter((id) => areas.has(id.slice(0, 2)) && !ids.has(id)),
      [],
    );
  });

  test('a title names rows one by one and as a span', () => {
    assert.deepEqual(rowsIn('SV-09, SV-16 only the key opens it'), ['SV-09', 'SV-16']);
    assert.deepEqual(rowsIn('CP-06 to CP-09 the road of a console'), ['CP-06', 'CP-09', 'CP-07', 'CP-08']);
    assert.deepEqual(rowsIn('nothing of the kind'), []);
  });

  test('the page counts what passed, what failed and what is missing', () => {
    const rows = ['AA-01', 'AA-02', 'AA-03'].map((id) => ({ id, area: 'Area', about: `about ${id}` }));
    const of = (title: string, state: 'passed' | 'failed') => ({ title, state, seconds: 1 });
    const reports = [
      {
        phase: 'unit',
        file: 'a.test.ts',
        startedAt: '2026-01-02T03:04:05.000Z',
        seconds: 1,
        tests: [of('AA-01 works', 'passed'), of('AA-01 fails', 'failed'), of('AA-02 | works', 'passed')],
      },
    ];
    const page = featuresPage(rows, reports);
    assert.match(page, /3 rows: 1 passed, 0 passed in part, 1 failed, 1 not yet\. Last test run: 2026-01-02 03:04 UTC/);
    assert.match(page, /\| AA-01 \| about AA-01 \| AA-01 works \(a\.test\.ts\)<br>✗ AA-01 fails \(a\.test\.ts\) \| failed \| {2}\|/);
    assert.match(page, /\| AA-02 \| about AA-02 \| AA-02 \\\| works \(a\.test\.ts\) \| passed \| {2}\|/);
    assert.match(page, /\| AA-03 \| about AA-03 \| {2}\| not yet \| {2}\|/);
    assert.equal(proofsByRow(reports).get('AA-01')?.length, 2);
  });

  test('a row of which something is open is proved in part at the most', () => {
    const open = 'what belongs | to a later release';
    assert.equal(resultOf({ open }, [{ passed: true }]), 'passed in part');
    assert.equal(resultOf({ open }, [{ passed: true }, { passed: false }]), 'failed');
    assert.equal(resultOf({ open }, []), 'not yet');
    assert.equal(resultOf({}, [{ passed: true }]), 'passed');
    const page = featuresPage(
      [{ id: 'AA-02', area: 'Area', about: 'about', open }],
      [
        {
          phase: 'unit',
          file: 'a.test.ts',
          startedAt: '2026-01-02T03:04:05.000Z',
          seconds: 1,
          tests: [{ title: 'AA-02 works', state: 'passed', seconds: 1 }],
        },
      ],
    );
    assert.match(page, /1 rows: 0 passed, 1 passed in part, 0 failed, 0 not yet/);
    assert.match(page, /\| AA-02 works \(a\.test\.ts\) \| passed in part \| what belongs \\\| to a later release \|/);
  });
});

describe('documentation', () => {
  const pages = files.filter((path) => path.endsWith('.md'));

  test('links lead to files that exist', () => {
    const broken = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)].flatMap(([, target = '']) =>
        existsSync(join(repository, dirname(page), target)) ? [] : [`${page}: ${target}`],
      ),
    );
    assert.deepEqual(broken, []);
  });

  // Not those that say `x` for any name, nor what comes into being under var/.
  test('paths of files are true', () => {
    const isPlace = (path: string): boolean => !path.startsWith('var/') && !path.includes('/x.');
    const broken = pages
      .filter((page) => !page.startsWith('docs/api/') && page !== 'docs/features.md')
      .flatMap((page) =>
        [...read(page).matchAll(/`([a-z][\w-]*(?:\/[\w.-]+)+\.(?:ts|mjs|md|json|sh))`/g)].flatMap(([, path = '']) =>
          !isPlace(path) || existsSync(join(repository, path)) || existsSync(join(repository, 'management', path))
            ? []
            : [`${page}: ${path}`],
        ),
      );
    assert.deepEqual(broken, []);
  });

  test('a how-to fits in ten lines', () => {
    const howTos = pages.filter((page) => page.startsWith('docs/how-to/'));
    assert.ok(howTos.length >= 4);
    assert.deepEqual(
      howTos.filter((page) => read(page).trimEnd().split('\n').length > 10),
      [],
    );
  });
});
