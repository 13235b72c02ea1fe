import assert from 'node:assert/strict';
import test from 'node:test';
import { addressOfHost, readHostUrl } from './host-url.ts';

test('the url of a host gives its name and the port of ssh, or a simulated host', () => {
  assert.deepEqual(readHostUrl('http://198.18.0.11'), { kind: 'ssh', name: '198.18.0.11', port: 22 });
  assert.deepEqual(readHostUrl('198.18.0.11'), { kind: 'ssh', name: '198.18.0.11', port: 22 });
  assert.deepEqual(readHostUrl('http://kvm1.example:2222/'), { kind: 'ssh', name: 'kvm1.example', port: 2222 });
  assert.deepEqual(readHostUrl('http://10.0.0.1:80'), { kind: 'ssh', name: '10.0.0.1', port: 80 });
  assert.deepEqual(readHostUrl('http://sim/c0/h0'), { kind: 'simulated', url: 'http://sim/c0/h0' });
  const wrong = [
    '',
    'http://',
    'ftp://10.0.0.1',
    'http://10.0.0.1/path',
    'http://10.0.0.1/?a=b',
    'http://sim',
    'http://sim/',
    'http://a b',
  ];
  for (const text of wrong) assert.throws(() => readHostUrl(text), /must be http:\/\/ and the address/, text);
  assert.throws(
    () => readHostUrl('http://root:secret@10.0.0.1'),
    (error: Error) => {
      assert.match(error.message, /must not carry a user name or password/);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    },
  );
});

test('a name that means nothing is refused', async () => {
  assert.equal(await addressOfHost('198.18.0.11'), '198.18.0.11');
  assert.equal(await addressOfHost('localhost'), '127.0.0.1');
  await assert.rejects(addressOfHost('no-such-host.invalid'), /has no IPv4 address/);
});
