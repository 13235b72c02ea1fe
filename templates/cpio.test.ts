import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { cpio } from './cpio.ts';

test('an archive begins with a header of the new ASCII format and ends with the trailer', () => {
  const archive = cpio([{ kind: 'file', path: 'a', content: Buffer.from('hello'), mode: 0o755 }]);
  const field = (index: number): number => Number.parseInt(archive.toString('ascii', 6 + index * 8, 14 + index * 8), 16);
  assert.equal(archive.toString('ascii', 0, 6), '070701');
  assert.equal(field(1), 0o100755);
  assert.equal(field(5), 0, 'no time of its own');
  assert.equal(field(6), 5, 'size of the content');
  assert.equal(field(11), 2, 'length of the name with its zero byte');
  assert.equal(archive.toString('ascii', 110, 111), 'a');
  assert.equal(archive.toString('ascii', 112, 117), 'hello');
  assert.equal(archive.length % 4, 0);
  assert.ok(archive.includes('TRAILER!!!'));
});

test('devices and links carry what makes them one', () => {
  const archive = cpio([
    { kind: 'character device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'link', path: 'l', target: 'dev' },
  ]);
  const field = (index: number): number => Number.parseInt(archive.toString('ascii', 6 + index * 8, 14 + index * 8), 16);
  assert.equal(field(1), 0o020600);
  assert.deepEqual([field(9), field(10)], [5, 1]);
  assert.ok(archive.includes('l\0'));
});

test('equal entries give equal bytes', () => {
  const entries = [{ kind: 'directory', path: 'd' } as const, { kind: 'file', path: 'd/f', content: Buffer.from('x') } as const];
  assert.deepEqual(cpio(entries), cpio(entries));
});
