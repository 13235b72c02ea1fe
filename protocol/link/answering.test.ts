import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { CloudError } from '../errors.ts';
import { createLog } from '../log.ts';
import { message, on } from '../message.ts';
import { s } from '../schema.ts';
import { openAnswering } from './answering.ts';
import type { FrameOf } from './frame.ts';

const log = createLog('test', { level: 'silent' });
const Work = message({ name: 'test.work', ask: s.object({ what: s.string() }), answer: s.object({ count: s.int() }), patience: 'fast' });
const ask = (id: string, what: string, more: Partial<FrameOf<'ask'>> = {}): FrameOf<'ask'> => ({
  kind: 'ask',
  id,
  name: 'test.work',
  body: { what },
  requestId: 'r',
  timeoutMs: 5000,
  ...more,
});

/** A desk whose handler starts work that the test ends by hand. */
function desk(options: { orphanMs?: number } = {}) {
  const started: { what: string; end: () => void; signal: AbortSignal }[] = [];
  const sent: { id: string; kind: string; body: Record<string, unknown> }[] = [];
  const handler = on(Work, ({ what }, { signal }) => {
    const count = started.length + 1;
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(new CloudError('Timeout', 'given up')));
      started.push({ what, signal, end: () => resolve({ count }) });
    });
  });
  const answering = openAnswering([handler], log, options);
  const send = (text: string) => void sent.push(JSON.parse(text));
  return { answering, started, sent, send };
}
const settle = () => wait(5);

test('an ask that comes again while it runs joins it, and gets the answer once more later', async () => {
  const { answering, started, sent, send } = desk();
  answering.take(ask('1', 'a'), send);
  await settle();
  answering.linkLost();
  started[0]?.end();
  await settle();
  assert.deepEqual(sent, [], 'an answer must not go to the link that is gone');
  answering.take(ask('1', 'a'), send);
  answering.take(ask('1', 'a'), send);
  assert.equal(started.length, 1);
  assert.deepEqual(
    sent.map(({ id, kind, body }) => [id, kind, body['count']]),
    [
      ['1', 'answer', 1],
      ['1', 'answer', 1],
    ],
  );
});

test('an ask of an older epoch of the same job is refused', async () => {
  const { answering, started, sent, send } = desk();
  answering.take(ask('new', 'a', { job: 'j', epoch: 2 }), send);
  await settle();
  answering.take(ask('old', 'b', { job: 'j', epoch: 1 }), send);
  answering.take(ask('other', 'c', { job: 'k', epoch: 1 }), send);
  await settle();
  assert.deepEqual(
    started.map(({ what }) => what),
    ['a', 'c'],
  );
  assert.equal(sent[0]?.id, 'old');
  assert.equal(sent[0]?.kind, 'refusal');
  assert.equal(sent[0]?.body['code'], 'Conflict');
});

test('the worker that takes a job over joins what it would ask the same way, and waits for the end of anything else', async () => {
  const { answering, started, sent, send } = desk();
  answering.take(ask('1', 'download', { job: 'j', epoch: 1 }), send);
  answering.take(ask('2', 'stop', { job: 'j', epoch: 1 }), send);
  await settle();
  answering.take(ask('3', 'download', { job: 'j', epoch: 2 }), send);
  await settle();
  assert.equal(started.length, 2, 'the download goes on for the new worker');
  assert.equal(started[1]?.signal.aborted, false);
  answering.take(ask('4', 'start', { job: 'j', epoch: 2 }), send);
  assert.equal(started.length, 2, 'start must not overlap with the former stop');
  await settle();
  assert.equal(started[1]?.signal.aborted, true);
  assert.equal(started[2]?.what, 'start');
  assert.equal(started[0]?.signal.aborted, false);
  started[0]?.end();
  await settle();
  assert.deepEqual(
    sent.filter(({ kind }) => kind === 'answer').map(({ id }) => id),
    ['1', '3'],
  );
});

test('work ends when its asker gives it up, when its time is over, and when the asker never comes back', async () => {
  const { answering, started, send } = desk({ orphanMs: 30 });
  answering.take(ask('1', 'cancelled'), send);
  answering.take(ask('2', 'late', { timeoutMs: 20 }), send);
  answering.take(ask('3', 'orphan'), send);
  await settle();
  answering.cancel('1');
  assert.equal(started[0]?.signal.aborted, true);
  await wait(40);
  assert.equal(started[1]?.signal.aborted, true);
  answering.linkLost();
  await settle();
  assert.equal(started[2]?.signal.aborted, false);
  await wait(60);
  assert.equal(started[2]?.signal.aborted, true);
  assert.equal(answering.runningCount, 0);
});

test('refused: an unknown message, a malformed ask, too much at once; a crash shows no detail', async () => {
  const { answering, sent, send } = desk();
  answering.take({ ...ask('1', 'a'), name: 'test.unknown' }, send);
  answering.take({ ...ask('2', 'a'), body: { what: 1 } }, send);
  await settle();
  assert.match(String(sent[0]?.body['message']), /does not know the message test\.unknown/);
  assert.equal(sent[1]?.body['code'], 'MalformedParameter');
  for (let index = 0; index < 1025; index++) answering.take(ask(`many-${index}`, 'a'), send);
  assert.equal(sent.at(-1)?.body['code'], 'ResourceUnavailable');
  assert.equal(answering.runningCount, 1024);
  answering.close();
  await settle();

  const crashing = openAnswering(
    [
      on(Work, async () => {
        throw new TypeError('secret /path');
      }),
    ],
    log,
  );
  const texts: string[] = [];
  crashing.take(ask('1', 'a'), (text) => void texts.push(text));
  await settle();
  assert.match(texts[0] ?? '', /"code":"Internal"/);
  assert.doesNotMatch(texts[0] ?? '', /secret/);
});

test('an answer that is too large for a frame is refused, not sent', async () => {
  const Big = message({ name: 'test.work', ask: s.object({ what: s.string() }), answer: s.text({ max: 2 ** 26 }), patience: 'fast' });
  const answering = openAnswering([on(Big, async () => 'x'.repeat(17 * 1024 * 1024))], log);
  const texts: string[] = [];
  answering.take(ask('1', 'a'), (text) => void texts.push(text));
  await wait(50);
  assert.match(texts[0] ?? '', /"refusal".*16 MiB/);
});
