import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../protocol/ids.ts';
import { type Proxy as ConsoleProxy, pickProxy } from './consoles.ts';

const zoneId = newId('zone');
const proxies: readonly ConsoleProxy[] = [10, 3, 7].map((sessions, index) => ({
  id: newId('machine'),
  zoneId,
  publicAddress: `203.0.113.${index + 1}`,
  sessions,
}));
const [ten, three, seven] = proxies;

test('CP-06 a new viewer gets the console proxy with the fewest sessions, and a machine stays with its last one while that has room', () => {
  assert.ok(ten && three && seven);
  assert.equal(pickProxy(proxies, null, 50), three);
  assert.equal(pickProxy([...proxies].reverse(), null, 50), three, 'in whatever order they come');
  assert.equal(pickProxy(proxies, ten.id, 50), ten, 'a second viewer of the same machine');
  assert.equal(pickProxy(proxies, ten.id, 10), three, 'its last one is full');
  assert.equal(pickProxy(proxies, newId('machine'), 50), three, 'its last one is gone');
  assert.equal(pickProxy(proxies, null, 4), three);
  assert.equal(pickProxy(proxies, seven.id, 3), null, 'all are full');
  assert.equal(pickProxy([], null, 50), null);
});
