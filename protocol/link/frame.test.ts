import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitAddress } from './address.ts';
import { rangeOf } from './files.ts';
import { AGENT_KINDS, decode, encode, FRAME_BYTES_MAX, SERVER_KINDS } from './frame.ts';

test('MI-02 both ends read one schema: unknown kinds are skipped, unknown envelope fields dropped, bodies checked', () => {
  assert.deepEqual(decode('{"kind":"bell","name":"machine","newer":1}', AGENT_KINDS), { kind: 'bell', name: 'machine' });
  assert.equal(decode('{"kind":"gossip","body":{}}', AGENT_KINDS), null);
  assert.equal(decode('{"kind":"ask","id":"1","name":"x","body":{},"requestId":"r","timeoutMs":1}', AGENT_KINDS), null);
  for (const bad of [
    'nonsense',
    '[]',
    '1',
    'null',
    '{}',
    '{"kind":"bell","name":"door"}',
    '{"kind":"beat","body":{"host":{"whole":1,"machines":[]}}}',
    '{"kind":"hello","body":{"kind":"host","id":"../../etc","version":"1","protocol":1}}',
    '{"kind":"hello","body":{"kind":"management","id":"0190a0a0-0000-7000-8000-000000000000","version":"1","protocol":1}}',
  ]) {
    assert.throws(() => decode(bad, AGENT_KINDS), { name: 'CloudError', code: 'MalformedParameter' }, bad);
  }
  const ask = { kind: 'ask', id: '1', name: 'x', body: [1, { a: null }], requestId: 'r', timeoutMs: 5, job: 'j', epoch: 3 } as const;
  assert.deepEqual(decode(encode({ ...ask, body: [1, { a: null }] }), SERVER_KINDS), ask);
});

test('a frame beyond the bound is refused by its sender', () => {
  assert.throws(() => encode({ kind: 'answer', id: '1', body: 'x'.repeat(FRAME_BYTES_MAX) }), /16 MiB/);
  // Counted in bytes, not in characters.
  assert.throws(() => encode({ kind: 'answer', id: '1', body: 'é'.repeat(FRAME_BYTES_MAX / 2) }), /16 MiB/);
});

test('addresses of servers', () => {
  assert.deepEqual(splitAddress('10.1.1.1:8250'), { host: '10.1.1.1', port: 8250 });
  assert.deepEqual(splitAddress('[fd00::1]:8250'), { host: 'fd00::1', port: 8250 });
  for (const bad of ['host', 'host:0', 'host:70000', 'fd00::1:8250', 'a b:1', ':8250']) assert.throws(() => splitAddress(bad), bad);
});

test('byte ranges of a file', () => {
  assert.equal(rangeOf(undefined, 100), null);
  assert.deepEqual(rangeOf('bytes=0-9', 100), { first: 0, last: 9 });
  assert.deepEqual(rangeOf('bytes=90-', 100), { first: 90, last: 99 });
  assert.deepEqual(rangeOf('bytes=-5', 100), { first: 95, last: 99 });
  assert.deepEqual(rangeOf('bytes=50-1000', 100), { first: 50, last: 99 });
  assert.equal(rangeOf('bytes=100-', 100), 'none');
  assert.equal(rangeOf('bytes=-0', 100), 'none');
  assert.equal(rangeOf('bytes=9-5', 100), null);
  assert.equal(rangeOf('bytes=0-1,5-6', 100), null);
});
