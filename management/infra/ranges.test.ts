import assert from 'node:assert/strict';
import test from 'node:test';
import { addressesOf, checkRange, outside, rangesOverlap } from './ranges.ts';

const good = { gateway: '198.18.0.1', netmask: '255.255.255.0', startIp: '198.18.0.100', endIp: '198.18.0.120' };

test('a range must make sense by itself', () => {
  assert.deepEqual(checkRange(good), { ...good, cidr: '198.18.0.0/24' });
  assert.equal(addressesOf(checkRange(good)).length, 21);
  assert.equal(checkRange({ ...good, endIp: undefined }).endIp, '198.18.0.254');
  const refused: readonly (readonly [Partial<typeof good>, RegExp])[] = [
    [{ startIp: '198.18.0.121' }, /ends \(198\.18\.0\.120\) before it starts \(198\.18\.0\.121\)/],
    [{ gateway: '198.18.0.110' }, /gateway 198\.18\.0\.110 lies in the range/],
    [{ gateway: '198.18.1.1' }, /first address 198\.18\.0\.100 is not an address of a machine in the network 198\.18\.1\.0\/24/],
    [{ endIp: '198.18.1.7' }, /last address 198\.18\.1\.7 is not/],
    [{ startIp: '198.18.0.0' }, /first address 198\.18\.0\.0 is not/],
    [{ endIp: '198.18.0.255' }, /last address 198\.18\.0\.255 is not/],
    [{ netmask: '255.0.255.0' }, /not a netmask/],
    [{ netmask: '255.255.255.255' }, /of no use here/],
    [{ netmask: '0.0.0.0' }, /of no use here/],
    [{ gateway: '169.254.3.1', startIp: '169.254.3.2', endIp: '169.254.3.9' }, /control traffic/],
  ];
  for (const [change, message] of refused) assert.throws(() => checkRange({ ...good, ...change }), message, JSON.stringify(change));
});

test('ranges overlap when they share an address, also only one', () => {
  const range = (startIp: string, endIp: string) => ({ startIp, endIp });
  assert.equal(rangesOverlap(range('10.0.0.1', '10.0.0.9'), range('10.0.0.9', '10.0.0.20')), true);
  assert.equal(rangesOverlap(range('10.0.0.5', '10.0.0.6'), range('10.0.0.1', '10.0.0.20')), true);
  assert.equal(rangesOverlap(range('10.0.0.1', '10.0.0.9'), range('10.0.0.10', '10.0.0.20')), false);
  assert.equal(rangesOverlap(range('9.255.255.1', '9.255.255.255'), range('10.0.0.0', '10.0.0.20')), false);
});

test('what of a range is not in another is nothing, one part or two', () => {
  const range = (startIp: string, endIp = startIp) => ({ startIp, endIp });
  const whole = range('10.0.0.10', '10.0.0.20');
  assert.deepEqual(outside(whole, range('10.0.0.1', '10.0.0.30')), []);
  assert.deepEqual(outside(whole, whole), []);
  assert.deepEqual(outside(whole, range('10.0.0.12', '10.0.0.18')), [range('10.0.0.10', '10.0.0.11'), range('10.0.0.19', '10.0.0.20')]);
  assert.deepEqual(outside(whole, range('10.0.0.1', '10.0.0.19')), [range('10.0.0.20')]);
  assert.deepEqual(outside(whole, range('10.0.0.30', '10.0.0.40')), [whole]);
});
