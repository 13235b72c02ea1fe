/** The state of a thing that has a state machine is written by `move` and by nothing else. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { product, read, withoutComments } from './sources.ts';

const management = product.filter((path) => path.startsWith('management/'));
/** `move` itself; jobs and agents are moved by the machinery that owns them, under a guard of its own. */
const owners = new Set(['management/core/db.ts']);

/** The parts between the commas of a call's outermost parentheses; `open` is where they begin. */
const argumentsAt = (text: string, open: number): string[] => {
  const parts: string[] = [];
  let depth = 0;
  let from = open + 1;
  for (let index = open; index < text.length; index++) {
    const character = text[index] ?? '';
    if ('([{'.includes(character)) depth++;
    else if (')]}'.includes(character)) depth--;
    if (depth === 0 || (depth === 1 && character === ',')) {
      parts.push(text.slice(from, index).trim());
      from = index + 1;
    }
    if (depth === 0) break;
  }
  return parts;
};

interface Write {
  readonly file: string;
  readonly table: string;
  readonly words: string;
}

/** `update(table, where, { … state … })` and `upsert`. */
const updates = (file: string, text: string): Write[] =>
  [...text.matchAll(/\.(?:update|upsert)\(/g)].flatMap(({ index, 0: call }) => {
    const [table = '', where = '', changes = ''] = argumentsAt(text, index + call.length - 1);
    const written = call.includes('upsert') ? where : changes;
    return /(?:^|[{,\s])state\s*[:,}]/.test(written) ? [{ file, table, words: written.replace(/\s+/g, ' ').slice(0, 100) }] : [];
  });

const statements = (file: string, text: string): Write[] =>
  [...text.matchAll(/UPDATE\s+`?(\w+)`?[^;]*?\bSET\b([^;`"]*?)(?:\bWHERE\b|[`";])/g)].flatMap(([, table = '', changes = '']) =>
    /\bstate\s*=/.test(changes) ? [{ file, table, words: changes.trim().slice(0, 100) }] : [],
  );

const moved = (text: string): string[] => [...text.matchAll(/\bmove\(\s*\w+,\s*(\w+),/g)].map(([, table = '']) => table);

const texts = management.map((file) => ({ file, text: withoutComments(read(file)) }));
/** Variables of tables that some code moves, with the name that SQL has for each. */
const machines = new Set(texts.flatMap(({ text }) => moved(text)));
const sqlNames = new Map(
  texts.flatMap(({ text }) =>
    [...text.matchAll(/export const (\w+) = table<[^>]*>\(\s*'(\w+)'/g)].map(([, variable = '', name = '']) => [name, variable] as const),
  ),
);
const isMachine = (table: string): boolean => machines.has(table) || machines.has(sqlNames.get(table) ?? '');

test('tables with a state machine are found', () => {
  for (const name of ['machines', 'networks', 'volumes', 'agents']) assert.ok(machines.has(name), name);
});

test('no state is written beside move', () => {
  const writes = texts
    .filter(({ file }) => !owners.has(file))
    .flatMap(({ file, text }) => [...updates(file, text), ...statements(file, text)].filter(({ table }) => isMachine(table)));
  assert.deepEqual(writes, []);
});

describe('a write of a state is seen', () => {
  test('in an update', () => {
    assert.equal(updates('x', "await tx.update(machines, { id }, { name, state: 'Running' });").length, 1);
    assert.equal(updates('x', 'await tx.update(machines, { id, state }, { name });').length, 0);
    assert.equal(updates('x', 'await tx.upsert(machines, { id, state }, ["id"]);').length, 1);
  });
  test('in a statement', () => {
    assert.equal(statements('x', "rows(`UPDATE machine SET state = 'Running' WHERE id = ?`)").length, 1);
    assert.equal(statements('x', 'rows(`UPDATE machine m SET m.name = 1, m.state = ? WHERE m.id = ?`)').length, 1);
    assert.equal(statements('x', "rows(`UPDATE machine SET host_id = ? WHERE state = 'Running'`)").length, 0);
  });
});
