import assert from 'node:assert/strict';
import test from 'node:test';
import { readIsolationMethod, readVnets } from './physical-network-params.ts';

test('numbers of a physical network are one range within what its isolation method has', () => {
  assert.deepEqual(readVnets('10000-10999', 'VXLAN'), { start: 10_000, end: 10_999 });
  assert.deepEqual(readVnets(' 5 - 9 ', 'VLAN'), { start: 5, end: 9 });
  assert.deepEqual(readVnets('77', 'VLAN'), { start: 77, end: 77 });
  assert.throws(() => readVnets('900-100', 'VLAN'), /before it starts/);
  assert.throws(() => readVnets('1-4095', 'VLAN'), /from 1 to 4094/);
  assert.throws(() => readVnets('0-10', 'VXLAN'), /from 1 to 16777215/);
  for (const text of ['', 'x', '1-2,5-9', '-5', '1-']) assert.throws(() => readVnets(text, 'VXLAN'), /one range of numbers/, text);
});

test('the isolation method is VXLAN unless given', () => {
  assert.equal(readIsolationMethod(undefined), 'VXLAN');
  assert.equal(readIsolationMethod([]), 'VXLAN');
  assert.equal(readIsolationMethod(['vlan']), 'VLAN');
  assert.throws(() => readIsolationMethod(['GRE']), /VXLAN, VLAN/);
  assert.throws(() => readIsolationMethod(['VXLAN', 'VLAN']), /one of/);
});
