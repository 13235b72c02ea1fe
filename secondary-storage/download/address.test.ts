import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { denial } from './address.ts';

const strict = { allowedInternalCidrs: [], ownCidrs: [] };

test('threat class 3: every address that is not plainly public is denied, in every spelling', () => {
  const denied = [
    ...['0.0.0.0', '0.1.2.3', '10.0.0.1', '10.255.255.255', '100.64.0.1', '100.127.255.254', '127.0.0.1', '127.255.0.9'],
    ...['169.254.169.254', '169.254.0.1', '172.16.0.1', '172.31.255.255', '192.0.0.1', '192.88.99.1', '192.168.1.1', '198.18.0.1'],
    ...['198.19.255.255', '224.0.0.1', '239.255.255.255', '240.0.0.1', '255.255.255.255'],
    ...['::', '::1', '::7f00:1', '::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:10.0.0.1', '0:0:0:0:0:ffff:a9fe:a9fe', '::10.0.0.1'],
    ...['64:ff9b::7f00:1', '64:ff9b::a9fe:a9fe', '64:ff9b::10.1.2.3', '64:ff9b:1::1', '2002:7f00:1::', '2002:a00:1::1', '2002:c0a8:101::'],
    ...['2001::1', '2001:0:4136:e378:8000:63bf:3fff:fdd2', '2001:10::1', 'fc00::1', 'fd12:3456::1', 'fe80::1', 'febf::1', 'fec0::1'],
    ...['ff02::1', 'ff0e::1', '100::1', '4000::1', 'nonsense', '', '1.2.3', '127.1.evil'],
  ];
  for (const address of denied) assert.notEqual(denial(address, strict, []), null, address);
});

test('public addresses pass, and the documentation networks count as public', () => {
  const passed = [
    ...['1.1.1.1', '9.255.255.255', '11.0.0.1', '100.63.255.255', '100.128.0.1', '172.15.255.255', '172.32.0.1', '193.0.0.1', '198.17.0.1'],
    ...['198.20.0.1', '203.0.113.10', '192.0.2.1', '198.51.100.1', '223.255.255.254', '2606:4700::1111', '2a00:1450::1', '2400::1'],
    ...['::ffff:1.1.1.1', '64:ff9b::101:101', '2002:101:101::1'],
  ];
  for (const address of passed) assert.equal(denial(address, strict, []), null, address);
});

test('SS-05 an internal network on the list may be reached, its neighbours may not', () => {
  const rules = { allowedInternalCidrs: ['10.20.0.0/16', '127.0.0.2/32'], ownCidrs: ['203.0.113.0/24'] };
  assert.equal(denial('10.20.3.4', rules, []), null);
  assert.equal(denial('::ffff:10.20.3.4', rules, []), null);
  assert.equal(denial('127.0.0.2', rules, []), null);
  assert.equal(denial('10.21.0.1', rules, []), 'a private address');
  assert.equal(denial('127.0.0.1', rules, []), 'a loopback address');
  assert.equal(denial('203.0.113.9', rules, []), 'an address of the cloud itself');
  assert.equal(denial('203.0.113.9', { ...rules, allowedInternalCidrs: ['203.0.113.0/28'] }, []), null);
});

test("this machine's own addresses are denied even when they are public", () => {
  assert.equal(denial('203.0.113.9', strict, ['203.0.113.9']), 'an address of this machine');
  assert.equal(denial('::ffff:203.0.113.9', strict, ['203.0.113.9']), 'an address of this machine');
  for (const address of Object.values(networkInterfaces()).flatMap((list) => list ?? []))
    assert.notEqual(denial(address.address, strict), null, address.address);
});
