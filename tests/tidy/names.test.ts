/** Names and sizes: docs/principles.md, habits 1 and 10. */
import assert from 'node:assert/strict';
import { basename, extname } from 'node:path';
import { test } from 'node:test';
import { contract } from '../contract/contract.ts';
import { code, files, folderOf, places, product, read, withoutComments } from './sources.ts';

const KEBAB = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const BANNED = ['manager', 'managers', 'helper', 'helpers', 'util', 'utils', 'impl', 'base', 'info', 'data', 'misc'];
const LINES_MAX = 900;
const LINES_GOOD = 700;

/** Names that stand by a rule of someone else's, or of the project's first page. */
const givenNames = new Set(['LICENSE', 'README.md', 'CHANGELOG.md', '.ci/run', '.gitignore', '.npmrc']);

const stem = (path: string): string => basename(path).replace(/(\.(test|testing|e2e|d))?\.[^.]+$/, '');

test('files and folders are named in kebab-case', () => {
  const wrong = files
    .filter((path) => !givenNames.has(path) && basename(path) !== 'README.md')
    .filter((path) => ![...path.split('/').slice(0, -1), stem(path)].every((part) => KEBAB.test(part)));
  assert.deepEqual(wrong, []);
});

// `user-data` is the field's own word for what a guest is given.
test('no file or folder has a name that says nothing', () => {
  const wrong = files.filter((path) =>
    [...path.split('/').slice(0, -1), stem(path)].some(
      (part) => part !== 'user-data' && part.split('-').some((word) => BANNED.includes(word)),
    ),
  );
  assert.deepEqual(wrong, []);
});

test('no declared name says nothing', () => {
  const declared =
    /\b(?:class|interface|const|function)\s+\w*(?:Manager|Helper|Utils?|Impl|Base|Info)\b|\btype\s+\w*(?:Manager|Helper|Utils?|Impl|Base|Info)(?:<[^=]*>)?\s*=/;
  assert.deepEqual(
    product.flatMap((path) => places(path, declared)),
    [],
  );
});

test('a file of one command is named after it', () => {
  const commandNames = new Map(contract.commands.map(({ name }) => [name.toLowerCase(), name]));
  const wrong = product
    .filter((path) => /^management\/[^/]+\/commands\//.test(path))
    .flatMap((path) => {
      const name = commandNames.get(stem(path).replaceAll('-', ''));
      if (name === undefined) return [];
      const exported = [...withoutComments(read(path)).matchAll(/export const (\w+)/g)].map(([, found]) => found);
      return exported.includes(name) ? [] : [`${path} does not export ${name}`];
    });
  assert.deepEqual(wrong, []);
});

test('numbers in names carry their unit, and bounds stand behind the noun', () => {
  const bounds = /\b(?:const|readonly|let)\s+(?:max|min)(?:Hosts|Retries|Attempts|Bytes|Seconds|Sessions|Size|Age|Length|Count)\b/;
  assert.deepEqual(
    product.flatMap((path) => places(path, bounds)),
    [],
  );
});

test('files can be read in one go', (t) => {
  const lengths = code.map((path) => ({ path, lines: read(path).split('\n').length }));
  for (const { path, lines } of lengths) if (lines > LINES_GOOD) t.diagnostic(`${path} has ${lines} lines: is it one thing?`);
  assert.deepEqual(
    lengths.filter(({ lines }) => lines > LINES_MAX),
    [],
  );
});

test('only what can be read stands in the repository', () => {
  const kinds = new Set(['.ts', '.mjs', '.cjs', '.json', '.md', '.sh', '.html', '.css', '.S', '.py', '']);
  assert.deepEqual(
    files.filter((path) => !kinds.has(extname(path)) && folderOf(path) !== 'docs' && !givenNames.has(path)),
    [],
  );
});
