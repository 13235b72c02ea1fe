import assert from 'node:assert/strict';
import test from 'node:test';
import {
  addressesBetween,
  cidrContains,
  cidrOf,
  cidrRange,
  cidrsOverlap,
  ip4ToNumber,
  netmaskOfPrefix,
  numberToIp4,
  prefixOfNetmask,
} from './ip4.ts';

test('addresses and numbers convert both ways, also above 2^31', () => {
  for (const address of ['0.0.0.0', '10.1.1.1', '127.255.255.255', '128.0.0.0', '203.0.113.9', '255.255.255.255'])
    assert.equal(numberToIp4(ip4ToNumber(address)), address);
  assert.equal(ip4ToNumber('255.255.255.255'), 2 ** 32 - 1);
  for (const bad of ['', '10.1.1', '10.1.1.256', '1.2.3.4.5', 'a.b.c.d', '10.1.1.01']) assert.throws(() => ip4ToNumber(bad), /not an IPv4/);
});

test('netmasks and prefixes convert both ways, and other masks are refused', () => {
  for (let prefix = 0; prefix <= 32; prefix++) assert.equal(prefixOfNetmask(netmaskOfPrefix(prefix)), prefix);
  assert.equal(netmaskOfPrefix(0), '0.0.0.0');
  assert.equal(netmaskOfPrefix(22), '255.255.252.0');
  for (const bad of ['255.0.255.0', '0.0.0.255', '255.255.255.1']) assert.throws(() => prefixOfNetmask(bad), /not a netmask/);
  assert.throws(() => netmaskOfPrefix(33), /prefix length/);
});

test('a network knows its ends and what lies in it', () => {
  const { first, last, prefix } = cidrRange('10.1.1.77/24');
  assert.deepEqual([numberToIp4(first), numberToIp4(last), prefix], ['10.1.1.0', '10.1.1.255', 24]);
  assert.equal(cidrContains('10.1.0.0/22', '10.1.3.255'), true);
  assert.equal(cidrContains('10.1.0.0/22', '10.1.4.0'), false);
  assert.equal(cidrContains('0.0.0.0/0', '203.0.113.1'), true);
  assert.equal(cidrOf('10.1.3.9', 22), '10.1.0.0/22');
  assert.equal(cidrOf('10.1.3.9', '255.255.255.0'), '10.1.3.0/24');
  assert.equal(cidrsOverlap('10.0.0.0/8', '10.200.0.0/16'), true);
  assert.equal(cidrsOverlap('10.0.0.0/16', '10.1.0.0/16'), false);
  assert.throws(() => cidrRange('10.1.1.0/33'), /not a network/);
  assert.throws(() => cidrRange('10.1.1.0'), /not a network/);
});

test('a range is written out with both ends, within bounds', () => {
  assert.deepEqual(addressesBetween('10.0.0.254', '10.0.1.1'), ['10.0.0.254', '10.0.0.255', '10.0.1.0', '10.0.1.1']);
  assert.deepEqual(addressesBetween('10.0.0.1', '10.0.0.1'), ['10.0.0.1']);
  assert.throws(() => addressesBetween('10.0.0.2', '10.0.0.1'), /before it starts/);
  assert.throws(() => addressesBetween('10.0.0.0', '11.0.0.0'), /more than 65536/);
});
