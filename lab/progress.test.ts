import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CloudError } from '../protocol/errors.ts';
import { formatBar, formatDuration, formatFailure, reporter, type Screen } from './progress.ts';

const recorder = (isTTY: boolean, columns = 100): { screen: Screen; text: () => string } => {
  let text = '';
  return { screen: { isTTY, columns, write: (more) => void (text += more) }, text: () => text };
};

test('durations and bars', () => {
  assert.equal(formatDuration(0.04), '0.0 s');
  assert.equal(formatDuration(9.94), '9.9 s');
  assert.equal(formatDuration(59.4), '59 s');
  assert.equal(formatDuration(59.6), '1 min 00 s');
  assert.equal(formatDuration(125), '2 min 05 s');
  assert.equal(formatBar(0, 4), '░░░░');
  assert.equal(formatBar(0.5, 4), '██░░');
  assert.equal(formatBar(7, 4), '████');
});

test('without a terminal: a line at the start, one per tenth, one at the end', async () => {
  let nowMs = 0;
  const { screen, text } = recorder(false);
  const steps = reporter(screen, () => nowMs);
  const result = await steps.run('packages', async (bar) => {
    for (let percent = 0; percent <= 100; percent++) {
      nowMs += 300;
      bar.update(percent / 100, 'qemu');
    }
    return 7;
  });
  assert.equal(result, 7);
  const lines = text().trimEnd().split('\n');
  assert.equal(lines.length, 11);
  assert.equal(lines[0], '… packages');
  assert.match(lines[1] ?? '', /packages +10 % {2}3\.3 s {2}qemu$/);
  assert.match(lines[10] ?? '', /^✓ packages +30 s$/);
  assert.ok(!text().includes('\u001b'));
});

test('on a terminal one line is drawn again, never wider than the screen, and control characters do not pass', async () => {
  let nowMs = 0;
  const { screen, text } = recorder(true, 60);
  const steps = reporter(screen, () => nowMs);
  await steps.run('build', async (bar) => {
    nowMs += 1000;
    bar.update(0.5, `a very long note that goes on and on ${'x'.repeat(200)} \u001b[2J\n`);
  });
  const drawn = text().split('\r\u001b[K').filter(Boolean);
  assert.ok(drawn.some((line) => line.includes('████████████░░░░░░░░░░░░  50 %')));
  for (const line of drawn) assert.ok(line.trimEnd().length <= 60, line);
  assert.ok(!text().includes('\u001b[2J'));
  assert.match(drawn.at(-1) ?? '', /^✓ build +1\.0 s\n$/);
});

test('a failure says what failed, where its log is and what to do, and is thrown on', async () => {
  const { screen, text } = recorder(false);
  const error = new CloudError('Unavailable', 'MariaDB ended before it was ready', {
    logFile: '/v/log/mariadb.log',
    lastLines: 'no space',
    remedy: 'make room',
  });
  await assert.rejects(
    reporter(screen).run('database', async () => {
      throw error;
    }),
    (thrown) => thrown === error,
  );
  assert.match(text(), /✗ database failed after 0\.0 s: MariaDB ended before it was ready/);
  assert.match(text(), /\| no space/);
  assert.match(text(), /log: \/v\/log\/mariadb\.log/);
  assert.match(text(), /what to do: make room/);
  assert.match(formatFailure('x', 1, new CloudError('Internal', 'y')), /run the same command again/);
});
