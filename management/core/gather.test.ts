import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gathered } from './gather.ts';

test('those who ask while an answer is under way are answered together, in their order, by what is read after they asked', async () => {
  const questions: number[][] = [];
  const ends: (() => void)[] = [];
  let value = 'old';
  const ask = gathered<number, string>(async (keys) => {
    questions.push([...keys]);
    const read = value;
    await new Promise<void>((resolve) => ends.push(resolve));
    return keys.map((key) => `${read} ${key}`);
  }, 3);
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

  const first = [ask(1), ask(2)];
  await turn();
  assert.deepEqual(questions, [[1, 2]]);
  const second = [3, 4, 5, 6].map(ask);
  await turn();
  assert.equal(questions.length, 1, 'one question at a time');
  value = 'new';
  ends.shift()?.();
  assert.deepEqual(await Promise.all(first), ['old 1', 'old 2']);
  await turn();
  assert.deepEqual(questions[1], [3, 4, 5], 'no more at once than the limit');
  ends.shift()?.();
  await turn();
  ends.shift()?.();
  assert.deepEqual(await Promise.all(second), ['new 3', 'new 4', 'new 5', 'new 6']);
  assert.deepEqual(questions, [[1, 2], [3, 4, 5], [6]]);
});

test('a question that fails fails for all who asked it, and for nobody after them', async () => {
  let broken = true;
  const ask = gathered<number, number>(async (keys) => {
    if (broken) throw new RangeError('away');
    return keys.map((key) => key * 2);
  });
  const outcomes = await Promise.allSettled([ask(1), ask(2)]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  broken = false;
  assert.equal(await ask(4), 8);
});
