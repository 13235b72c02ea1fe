/** The runner must not let anything pass that did not run to its end and hold. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import { type Report, readReports, reportsDirectory, repository } from '../report.ts';
import { runTestFile } from '../run-file.ts';

const phase = 'runner-proof';
const folder = join(repository, 'var', phase);

const run = async (name: string, source: string, timeoutSeconds = 30, signal = new AbortController().signal): Promise<Report> => {
  const path = join(folder, `${name}.test.ts`);
  await writeFile(path, `import assert from 'node:assert/strict';\nimport { describe, test } from 'node:test';\n${source}\n`);
  return runTestFile(phase, relative(repository, path), { timeoutSeconds, signal });
};
const states = ({ tests }: Report): string[] => tests.map(({ title, state }) => `${title}: ${state}`);

before(() => mkdir(folder, { recursive: true }));
after(async () => {
  await rm(folder, { recursive: true, force: true });
  await rm(join(reportsDirectory, phase), { recursive: true, force: true });
});

test('each test has one line, named with its suites, and a report that can be read again', async () => {
  const report = await run(
    'plain',
    `describe('a', () => {
      test('b', async (t) => { await t.test('c', () => undefined); await t.test('d', () => assert.equal(1, 2)); });
      test('e', () => undefined);
    });
    test('f', () => assert.fail('said why'));
    test('g', { skip: 'no reason' }, () => undefined);
    test('h', { todo: true }, () => undefined);`,
  );
  assert.deepEqual(states(report), ['a › b › c: passed', 'a › b › d: failed', 'a › e: passed', 'f: failed', 'g: skipped', 'h: todo']);
  assert.match(report.tests.find(({ title }) => title === 'f')?.error ?? '', /said why/);
  assert.deepEqual(
    (await readReports(join(reportsDirectory, phase))).find(({ file }) => file === report.file),
    report,
  );
});

test('a failing hook, a crash, a bad import, an early exit and an empty file are failures', async () => {
  const failing = {
    hook: `describe('s', () => { test.before(() => assert.fail('hook')); test('t', () => undefined); });`,
    crash: `test('t', () => undefined); setTimeout(() => { assert.fail('late'); }, 50);`,
    missing: `import './nowhere.ts'; test('t', () => undefined);`,
    exit: `test('t', () => undefined); process.exit(3);`,
    empty: '',
  };
  for (const [name, source] of Object.entries(failing)) {
    const report = await run(name, source);
    assert.ok(
      report.tests.some(({ state }) => state === 'failed'),
      `${name}: ${states(report).join('; ')}`,
    );
  }
});

test('a file that does not end is ended, with its children, and fails', async () => {
  const child = `const { spawn } = await import('node:child_process');
    const sleeper = spawn('sleep', ['300']); console.log('child', sleeper.pid);
    test('t', () => undefined); setInterval(() => undefined, 1000);`;
  const report = await run('endless', child, 2);
  assert.deepEqual(states(report), ['t: passed', `${report.file}: failed`]);
  const [, pid] = /child (\d+)/.exec(report.tests[1]?.error ?? '') ?? [];
  assert.ok(pid, 'the last lines of the log are in the failure');
  // Ended, though perhaps not yet collected by its new parent.
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tX');
  assert.match(status, /^State:\t[XZ]/m);
});

test('what is stopped from outside fails', async () => {
  const report = await run('stopped', `test('t', () => undefined);`, 30, AbortSignal.abort('time is over'));
  assert.match(report.tests.at(-1)?.error ?? '', /time is over/);
  assert.equal(report.tests.at(-1)?.state, 'failed');
});
