import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { libraryPaths, masterBootRecord } from './disk.ts';

test('the master boot record holds the boot code, one bootable partition and the signature', () => {
  const record = masterBootRecord(Buffer.alloc(512, 0xab), 0x01020304, 1_048_576);
  assert.equal(record.length, 512);
  assert.equal(record[439], 0xab);
  assert.equal(record.readUInt32LE(440), 0x01020304, 'the boot code does not run over the disk id');
  assert.equal(record[446], 0x80);
  assert.equal(record[450], 0x83);
  assert.equal(record.readUInt32LE(454), 2048);
  assert.equal(record.readUInt32LE(458), 1_048_576 - 2048);
  assert.deepEqual(
    [...record.subarray(462, 510)],
    Array.from({ length: 48 }, () => 0),
  );
  assert.deepEqual([...record.subarray(510)], [0x55, 0xaa]);
});

test('libraries are read from the list of the dynamic loader', () => {
  const listing = `\tlinux-vdso.so.1 (0x00007ffd1)
\tlibcrypt.so.1 => /lib/x86_64-linux-gnu/libcrypt.so.1 (0x00007f1)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f3)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f4)
`;
  assert.deepEqual(libraryPaths(listing), [
    '/lib/x86_64-linux-gnu/libc.so.6',
    '/lib/x86_64-linux-gnu/libcrypt.so.1',
    '/lib64/ld-linux-x86-64.so.2',
  ]);
});
