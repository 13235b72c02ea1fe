import assert from 'node:assert/strict';
import test from 'node:test';
import { withScratchDatabase } from '../../lab/services.ts';
import { newId } from '../../protocol/ids.ts';
import { cidrContains } from '../../protocol/ip4.ts';
import { createLog } from '../../protocol/log.ts';
import { asTables } from '../core/area.ts';
import { type Database, openDatabase } from '../core/db.ts';
import { addPrivateAddresses, freePrivateAddresses, removePrivateAddresses, takePrivateAddress } from './addresses.ts';
import { infraTables, ipRanges, pods } from './entities.ts';

async function withDatabase(work: (db: Database) => Promise<void>): Promise<void> {
  await withScratchDatabase(async ({ database }) => {
    const db = await openDatabase({ ...database, poolSize: 10 }, asTables(...infraTables), [], createLog('test', { level: 'silent' }));
    try {
      await db.source.synchronize();
      await work(db);
    } finally {
      await db.close();
    }
  });
}

const network = { gateway: '10.20.0.1', netmask: '255.255.255.0' };

test('no two NICs ever get the same address, and what is given back is given again', async () => {
  await withDatabase(async (db) => {
    const [zoneId, podId] = [newId('zone'), newId('pod')];
    const scope = { kind: 'management', zoneId, scopeId: podId } as const;
    const range = { startIp: '10.20.0.100', endIp: '10.20.0.129' };
    await db.transact(async (tx) => {
      const rest = { allocationState: 'Enabled', generation: 0, createdAt: new Date(), removedAt: null } as const;
      await tx.insert(pods, { id: podId, zoneId, name: 'p', ...network, ...rest });
      await addPrivateAddresses(tx, scope, range);
    });
    const take = () => db.transact((tx) => takePrivateAddress(tx, { kind: 'management', zoneId, podId, nicId: newId('nic') }));
    const taken = await Promise.all(Array.from({ length: 30 }, take));
    assert.equal(new Set(taken.map(({ address }) => address)).size, 30);
    assert.deepEqual(
      taken.map(({ netmask, gateway }) => [netmask, gateway]),
      taken.map(() => ['255.255.255.0', '10.20.0.1']),
    );
    await assert.rejects(take(), /the pod p has no free management address/);
    await assert.rejects(
      db.transact((tx) => removePrivateAddresses(tx, scope, range)),
      /30 address\(es\) of the range .* are in use/,
    );

    const nicId = newId('nic');
    await db.rows('UPDATE private_address SET nic_id = ? WHERE address = ?', [nicId, '10.20.0.117']);
    await db.transact((tx) => freePrivateAddresses(tx, nicId));
    assert.equal((await take()).address, '10.20.0.117');
  });
});

test('control addresses are link-local, differ within a zone, and are never those of hosts or metadata', async () => {
  await withDatabase(async (db) => {
    const zoneId = newId('zone');
    const nicIds = Array.from({ length: 50 }, () => newId('nic'));
    const taken = await Promise.all(nicIds.map((nicId) => db.transact((tx) => takePrivateAddress(tx, { kind: 'control', zoneId, nicId }))));
    const addresses = new Set(taken.map(({ address }) => address));
    assert.equal(addresses.size, 50);
    for (const address of addresses) assert.equal(cidrContains('169.254.0.0/16', address), true);
    for (const never of ['169.254.0.0', '169.254.0.1', '169.254.169.254', '169.254.255.255']) assert.equal(addresses.has(never), false);
    assert.deepEqual([taken[0]?.netmask, taken[0]?.gateway], ['255.255.0.0', null]);
    for (const nicId of nicIds) await db.transact((tx) => freePrivateAddresses(tx, nicId));
    assert.deepEqual(await db.rows('SELECT id FROM private_address'), []);
  });
});

test("storage addresses come from the pod's own range first, then from another of the zone", async () => {
  await withDatabase(async (db) => {
    const [zoneId, here, there] = [newId('zone'), newId('pod'), newId('pod')];
    await db.transact(async (tx) => {
      for (const [podId, third] of [
        [here, 1],
        [there, 2],
      ] as const) {
        const id = newId('ipRange');
        const range = { gateway: `10.30.${third}.1`, netmask: '255.255.255.0', startIp: `10.30.${third}.5`, endIp: `10.30.${third}.5` };
        const rest = {
          physicalNetworkId: newId('physicalNetwork'),
          vlan: 'untagged',
          forSystemVms: true,
          createdAt: new Date(),
          removedAt: null,
        };
        await tx.insert(ipRanges, { id, kind: 'storage', zoneId, podId, ...range, ...rest });
        await addPrivateAddresses(tx, { kind: 'storage', zoneId, scopeId: id }, range);
      }
    });
    const take = () => db.transact((tx) => takePrivateAddress(tx, { kind: 'storage', zoneId, podId: there, nicId: newId('nic') }));
    assert.deepEqual(await take(), { address: '10.30.2.5', netmask: '255.255.255.0', gateway: '10.30.2.1' });
    assert.deepEqual(await take(), { address: '10.30.1.5', netmask: '255.255.255.0', gateway: '10.30.1.1' });
    await assert.rejects(take(), /no free storage address/);
  });
});
