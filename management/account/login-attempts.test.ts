import assert from 'node:assert/strict';
import test from 'node:test';
import { openLoginAttempts } from './login-attempts.ts';

const late = { code: 'TooManyRequests' };
const at = (address: string, user = '/ admin') => ({ address, user });

test('after five wrong passwords the next ones wait, each time longer, and a right one begins anew', () => {
  let now = 0;
  const attempts = openLoginAttempts(() => now);
  const mine = at('192.0.2.1');
  for (let count = 0; count < 5; count++) attempts.begin(mine, 5);
  assert.throws(() => attempts.begin(mine, 5), { ...late, message: /in 1 seconds/ });
  // Another spelling of the same name is the same user; another address is not held up by this one.
  assert.throws(() => attempts.begin(at('192.0.2.1', '/ ADMIN'), 5), late);
  attempts.begin(at('192.0.2.2'), 5);
  for (const seconds of [1, 2, 4, 8]) {
    now += seconds * 1000 - 1;
    assert.throws(() => attempts.begin(mine, 5), late, `after ${seconds} s`);
    now += 1;
    attempts.begin(mine, 5);
  }
  now += 300_000;
  attempts.begin(mine, 5);
  attempts.succeeded(mine);
  for (let count = 0; count < 5; count++) attempts.begin(mine, 5);
  assert.throws(() => attempts.begin(mine, 5), late);
  attempts.begin(mine, 0);
});

test('guessing from many addresses, or of many users, is slowed down too; nobody is locked out for long', () => {
  let now = 0;
  const attempts = openLoginAttempts(() => now);
  for (let count = 0; count < 50; count++) attempts.begin(at(`192.0.2.${count}`), 5);
  assert.throws(() => attempts.begin(at('198.51.100.1'), 5), late);
  for (let count = 0; count < 30; count++) {
    now += 60_000;
    attempts.begin(at(`198.51.100.${count}`), 5);
  }
  for (let count = 0; count < 100; count++) attempts.begin(at('203.0.113.1', `/ user${count}`), 5);
  assert.throws(() => attempts.begin(at('203.0.113.1', '/ somebody'), 5), late);
});

test('attempts at the same time count before they have failed; one that was not tried does not', () => {
  const attempts = openLoginAttempts(() => 0);
  const mine = at('192.0.2.1');
  for (let count = 0; count < 100; count++) {
    attempts.begin(mine, 5);
    attempts.withdrawn(mine);
  }
  assert.equal(attempts.size, 0);
  for (let count = 0; count < 5; count++) attempts.begin(mine, 5);
  assert.throws(() => attempts.begin(mine, 5), late);
});

test('what is counted is bounded and forgotten', () => {
  let now = 0;
  const attempts = openLoginAttempts(() => now);
  for (let count = 0; count < 30_000; count++)
    attempts.begin(at(`10.${count >> 16}.${(count >> 8) & 255}.${count & 255}`, `/ u${count}`), 5);
  assert.ok(attempts.size <= 20_003, String(attempts.size));
  now += 3_600_001;
  attempts.begin(at('192.0.2.1'), 5);
  assert.equal(attempts.size, 3);
});
