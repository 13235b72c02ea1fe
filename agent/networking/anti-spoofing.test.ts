import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../protocol/ids.ts';
import { attempt } from '../processes.ts';
import { antiSpoofing, compileAntiSpoofing, type GuardedNic } from './anti-spoofing.ts';
import { nftFile } from './nft.ts';

const guestNic: GuardedNic = { tap: 't0000000000d1', mac: '02:00:00:00:00:01', network: 'vxlan', addresses: ['10.1.1.5', '10.1.1.6'] };
const routerControl: GuardedNic = { tap: 't0000000000d2', mac: '0e:00:00:00:00:02', network: 'control', addresses: null };
const routerPublic: GuardedNic = { tap: 't0000000000d3', mac: '1e:00:00:00:00:03', network: 'bridge', addresses: null };

test('guests are in the sets with their own addresses, system VMs only on the control network', () => {
  const ruleset = compileAntiSpoofing([guestNic, routerControl, routerPublic], '169.254.0.1');
  assert.match(ruleset, /set checked \{ type ifname; elements = \{ "t0000000000d1" \} \}/);
  assert.match(ruleset, /set control \{ type ifname; elements = \{ "t0000000000d2" \} \}/);
  assert.match(ruleset, /set macs \{[^}]*"t0000000000d1" \. 02:00:00:00:00:01 \}/);
  assert.match(ruleset, /"t0000000000d1" \. 10\.1\.1\.5, "t0000000000d1" \. 10\.1\.1\.6/);
  assert.ok(!ruleset.includes(routerPublic.tap));
});

const mayLoad = (await nftFile('table bridge npcheck { }\n', ['--check'])).code === 0;
test('RL-18 nftables takes the table: empty, small, and for a thousand NICs', {
  skip: mayLoad ? false : 'nftables cannot be used here',
}, async () => {
  const many = Array.from({ length: 1000 }, (_, index): GuardedNic => {
    const hex = index.toString(16).padStart(4, '0');
    return {
      tap: `t00000000${hex}`,
      mac: `02:00:00:00:${hex.slice(0, 2)}:${hex.slice(2)}`,
      network: 'vxlan',
      addresses: [`10.1.${index >> 8}.${index & 255}`],
    };
  });
  for (const nics of [[], [guestNic], [guestNic, routerControl, routerPublic], [{ ...guestNic, addresses: [] }], many]) {
    for (const control of [null, '169.254.0.1']) {
      const { code, stderr } = await nftFile(compileAntiSpoofing(nics, control), ['--check']);
      assert.equal(code, 0, stderr);
    }
  }
  assert.notEqual((await attempt('nft', ['list', 'table', 'bridge', 'npcheck'])).code, 0);
});

test('a machine being started is guarded although it is not seen running yet; afterwards only those that run', async () => {
  const loaded: string[] = [];
  const guard = antiSpoofing(async (ruleset) => {
    loaded.push(ruleset);
  });
  const machine = newId('machine');
  await guard.admit(machine, [guestNic]);
  await guard.keep(new Map());
  assert.equal(loaded.length, 1, 'nothing changed, so nothing is loaded');
  assert.match(loaded[0] ?? '', /10\.1\.1\.5/);
  guard.settle(machine);
  await guard.keep(new Map([[machine, [guestNic]]]));
  assert.equal(loaded.length, 1);
  await guard.keep(new Map());
  assert.ok(!loaded.at(-1)?.includes('10.1.1.5'));
});

test('a table that could not be loaded is loaded at the next chance', async () => {
  let fails = true;
  const loaded: string[] = [];
  const guard = antiSpoofing(async (ruleset) => {
    if (fails) throw new Error('no');
    loaded.push(ruleset);
  });
  const machine = newId('machine');
  await assert.rejects(guard.admit(machine, [guestNic]));
  fails = false;
  await guard.admit(machine, [guestNic]);
  assert.equal(loaded.length, 1);
});
