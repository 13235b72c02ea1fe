import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientInput } from './client-input.ts';

const pixelFormat = Buffer.alloc(20);
const encodings = Buffer.concat([Buffer.from([2, 0, 0, 3]), Buffer.alloc(12, 0xff)]);
const updateRequest = Buffer.from([3, 1, 0, 0, 0, 0, 3, 32, 2, 88]);
const key = Buffer.from([4, 1, 0, 0, 0, 0, 0, 0x61]);
const pointer = Buffer.from([5, 0, 0, 9, 0, 9]);
const widePointer = Buffer.from([5, 0x81, 0, 9, 0, 9, 1]);
const clipboard = Buffer.from([6, 0, 0, 0, 0, 0, 0, 3, 4, 4, 4]);
const extendedClipboard = Buffer.from([6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 1, 0, 0, 0]);
const fence = Buffer.from([248, 0, 0, 0, 0, 0, 0, 1, 4, 4, 4, 4, 4]);
const continuous = Buffer.from([150, 1, 0, 0, 0, 0, 3, 32, 2, 88]);
const desktopSize = Buffer.concat([Buffer.from([251, 0, 3, 32, 2, 88, 1, 0]), Buffer.alloc(16, 4)]);
const qemuKey = Buffer.from([255, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 0x1e]);

const quiet = Buffer.concat([pixelFormat, encodings, updateRequest, fence, continuous, desktopSize, updateRequest]);

test('what the browser sends by itself is not the user, in pieces of any size', () => {
  for (const size of [1, 2, 3, 7, 64, quiet.length]) {
    const saw = clientInput();
    for (let offset = 0; offset < quiet.length; offset += size) assert.equal(saw(quiet.subarray(offset, offset + size)), false);
    assert.equal(saw(key), true, 'still in step afterwards');
  }
});

test('keys, pointer and clipboard are the user, and the stream stays in step', () => {
  for (const message of [key, pointer, widePointer, clipboard, extendedClipboard, qemuKey]) {
    const saw = clientInput();
    assert.equal(saw(Buffer.concat([updateRequest, message, updateRequest])), true);
    assert.equal(saw(quiet), false);
  }
});

test('a stream that cannot be read counts as the user', () => {
  const saw = clientInput();
  assert.equal(saw(Buffer.from([99, 1, 2])), true);
  assert.equal(saw(updateRequest), true);
});
