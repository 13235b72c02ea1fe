import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { parseChecksum } from './checksum.ts';

const of = (algorithm: string): string => createHash(algorithm).update('x').digest('hex');

test('the length tells the algorithm', () => {
  for (const algorithm of ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512'])
    assert.deepEqual([parseChecksum(of(algorithm)).algorithm, parseChecksum(of(algorithm)).hex], [algorithm, of(algorithm)]);
});

test('the algorithm may be named, and case does not matter', () => {
  assert.deepEqual(parseChecksum(`{SHA-256}${of('sha256').toUpperCase()}`), { name: 'SHA-256', algorithm: 'sha256', hex: of('sha256') });
  assert.equal(parseChecksum(`{md5}${of('md5')}`).algorithm, 'md5');
  assert.equal(parseChecksum(`{SHA512}${of('sha512')}`).algorithm, 'sha512');
});

test('what is no checksum is refused', () => {
  for (const text of ['', 'abc', `{SHA-256}${of('md5')}`, `{CRC32}${of('md5')}`, `${of('md5')}zz`, '{SHA-256}', `sha256:${of('sha256')}`])
    assert.throws(() => parseChecksum(text), /checksum/, text);
});
