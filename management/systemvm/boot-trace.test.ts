import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failureIn, isSameBoot, lastWordsOf, stagesIn, stagesText } from './boot-trace.ts';

const before = 'NEPHOS-STAGE boot 2.10\nNEPHOS-STAGE agent 5.00\nNEPHOS-STAGE network 5.50 failed: an old trouble\n';
const good = [
  '[    1.2] a word of the kernel',
  'NEPHOS-STAGE boot 2.00',
  'NEPHOS-STAGE payload 2.31',
  'NEPHOS-STAGE role 2.40 router',
  'NEPHOS-STAGE agent 6.01',
  'NEPHOS-STAGE network 6.50',
  'NEPHOS-STAGE link 7.12',
  'NEPHOS-STAGE ready 9.00',
  '',
].join('\r\n');

test('SV-14 the stages of the last boot are read from the serial console, with their times', () => {
  const stages = stagesIn(before + good);
  assert.equal(stagesText(stages), 'boot 2.00, payload 2.31, role 2.40, agent 6.01, network 6.50, link 7.12, ready 9.00');
  assert.equal(stages[2]?.detail, 'router');
  assert.equal(failureIn(stages), null);
  assert.deepEqual(stagesIn('nothing of this kind\nNEPHOS-STAGE'), []);
  // A boot whose first line was lost is told from the one before by its clock.
  assert.equal(stagesText(stagesIn('NEPHOS-STAGE ready 90.00\nNEPHOS-STAGE agent 5.00\n')), 'agent 5.00');
});

test('SV-14 the stage that failed is named with its reason, and how often it did', () => {
  const broken = `${good.slice(0, good.indexOf('NEPHOS-STAGE network'))}NEPHOS-STAGE network 6.50 failed: ip failed: no such device\nNEPHOS-STAGE role-exited 21.7 1\n`;
  assert.deepEqual(failureIn(stagesIn(broken)), { stage: 'network', reason: 'ip failed: no such device', count: 1 });
  const again = `${broken}NEPHOS-STAGE role 22.80 router\nNEPHOS-STAGE agent 25.00\n`;
  assert.equal(failureIn(stagesIn(again))?.count, 1, 'it is being tried again');
  assert.equal(failureIn(stagesIn(`${again}NEPHOS-STAGE network 26.00 failed: ip failed: no such device\n`))?.count, 2);
  assert.equal(failureIn(stagesIn(`${again}NEPHOS-STAGE network 26.00\nNEPHOS-STAGE ready 28.00\n`)), null, 'it has succeeded since');
});

test('SV-14 what ends before the program speaks is named, too', () => {
  const boot = 'NEPHOS-STAGE boot 2.00\n';
  const of = (rest: string) => failureIn(stagesIn(boot + rest));
  assert.deepEqual(of('NEPHOS-STAGE payload-missing 3.00\n'), {
    stage: 'payload',
    reason: 'the disk with its programs was not found',
    count: 1,
  });
  assert.equal(of('NEPHOS-STAGE payload-missing 3.00\nNEPHOS-STAGE payload 4.00\n'), null);
  assert.equal(of('NEPHOS-STAGE unknown-type 3.00\n')?.count, Number.POSITIVE_INFINITY);
  assert.equal(failureIn(stagesIn('NEPHOS-STAGE no-root-disk\n'))?.stage, 'no-root-disk');
  assert.deepEqual(of('NEPHOS-STAGE role 3.00 router\nNEPHOS-STAGE role-exited 5.00 139\n'), {
    stage: 'role',
    reason: 'its program ended with status 139',
    count: 1,
  });
});

test('a boot is known again when it has gone on, and another one is not taken for it', () => {
  const [half, whole] = [stagesIn(good.slice(0, good.indexOf('NEPHOS-STAGE agent'))), stagesIn(good)];
  assert.equal(isSameBoot(half, whole), true);
  assert.equal(isSameBoot(whole, whole), true);
  assert.equal(isSameBoot(stagesIn(before), whole), false);
  assert.equal(isSameBoot([], whole), false);
});

test('last words are few, plain and without the join token', () => {
  const words = lastWordsOf(
    `${'x\n'.repeat(50)}Command line: nephos.token=abcDEF-123 quiet\r\n\x1b[31mred\x1b[0m \x07bell\n${'y'.repeat(500)}\n\n`,
  );
  assert.equal(words.length, 8);
  assert.deepEqual(words.slice(-3), ['Command line: nephos.token=… quiet', 'red  bell', 'y'.repeat(200)]);
});
