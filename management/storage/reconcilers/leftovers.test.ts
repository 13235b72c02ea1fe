import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge } from './leftovers.ts';

test('only the file of a volume that is expunged for an hour is removed', () => {
  const now = Date.now();
  const ago = (minutes: number) => new Date(now - minutes * 60_000);
  assert.equal(judge({ state: 'Expunged', removedAt: ago(61) }, now), 'remove');
  assert.equal(judge({ state: 'Expunged', removedAt: ago(59) }, now), 'keep');
  assert.equal(judge({ state: 'Ready', removedAt: null }, now), 'keep');
  assert.equal(judge({ state: 'Creating', removedAt: null }, now), 'keep');
  assert.equal(judge({ state: 'Destroy', removedAt: null }, now), 'keep');
  // Rows of a system VM that never came to be are removed while its undo may still be owed.
  assert.equal(judge({ state: 'Ready', removedAt: ago(600) }, now), 'keep');
  assert.equal(judge(undefined, now), 'report');
});
