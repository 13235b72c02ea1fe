import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Secret } from '../../protocol/schema.ts';
import { openResult, sealedResult } from './sealed-results.ts';
import { secretsWith } from './secrets.ts';

test('a password in a job result is kept sealed, opened for its owner and left out for others', () => {
  const secrets = secretsWith(randomBytes(32));
  const kept = { virtualmachine: { id: 'x', password: sealedResult(secrets, new Secret('hunter22')), nic: [{ id: 'y' }] } };
  assert.ok(!JSON.stringify(kept).includes('hunter22'));
  assert.deepEqual(openResult(secrets, kept, { own: true }), { virtualmachine: { id: 'x', password: 'hunter22', nic: [{ id: 'y' }] } });
  assert.deepEqual(openResult(secrets, kept, { own: false }), { virtualmachine: { id: 'x', nic: [{ id: 'y' }] } });
});

test('a name that looks sealed is shown, and does not keep the result from being told', () => {
  const secrets = secretsWith(randomBytes(32));
  const foreign = sealedResult(secretsWith(randomBytes(32)), new Secret('x'));
  const kept = { virtualmachine: { name: 'sealed:', displayname: foreign } };
  for (const own of [true, false]) assert.deepEqual(openResult(secrets, kept, { own }), kept);
});
