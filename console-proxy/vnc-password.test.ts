import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerChallenge } from './vnc-password.ts';

test('the cipher is DES with reversed key bits', () => {
  // Key 133457799BBCDFF1 with the bits of each byte reversed; plain text and cipher text are the well-known worked example of DES.
  const password = Buffer.from('c82cea9ed93dfb8f', 'hex').toString('latin1');
  const challenge = Buffer.from('0123456789abcdef0123456789abcdef', 'hex');
  assert.equal(answerChallenge(password, challenge).toString('hex'), '85e813540f0ab40585e813540f0ab405');
});

test('a short password is filled with zeros and a long one is cut', () => {
  const challenge = Buffer.alloc(16, 7);
  assert.deepEqual(answerChallenge('abcdefgh-and-more', challenge), answerChallenge('abcdefgh', challenge));
  assert.notDeepEqual(answerChallenge('abc', challenge), answerChallenge('abcd', challenge));
});
