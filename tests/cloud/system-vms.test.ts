/** Which system VMs a zone has, what they take, and the networks they stand in: against a simulated cloud. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, eventually, type Reply } from '../../lab/client.ts';
import { ensureZone } from '../../lab/zone.ts';
import { parseBootArguments } from '../../systemvm/bootargs.ts';
import { addTenant } from '../commands/accounts.ts';
import { startCloud } from './cloud.ts';
import { simulatorPlan } from './simulator-zone.ts';
import { startZone, type Zone } from './zone.ts';

const upOf = (zone: Pick<Zone, 'list'>, systemvmtype: string): Promise<Reply> =>
  eventually(`a ${systemvmtype} is up`, async () => {
    const found = await zone.list('listSystemVms', { systemvmtype, state: 'Running' });
    assert.ok(found.length <= 1, 'never two');
    return found[0]?.agentstate === 'Up' ? found[0] : null;
  });

test('CP-03 SS-02 a zone has its console proxy by itself, and a secondary storage VM when it has secondary storage', {
  timeout: 60_000,
}, async (t) => {
  const cloud = await startCloud({ beatMs: 400 });
  t.after(() => cloud.close());
  const { admin, management } = cloud;
  class Enough extends Error {}
  const plan = simulatorPlan(0, 1);
  const stopped = ensureZone(admin, plan, (what) => {
    if (what === 'secondary storage') throw new Enough();
  });
  await assert.rejects(stopped, Enough);
  const [{ id }] = await admin.list('listZones');
  assert.deepEqual(await admin.list('listSystemVms'), [], 'a zone that is Disabled has none');
  for (let look = 0; look < 2; look++) await management.reconciliation.runOnce('systemVm.zones');
  assert.deepEqual(await admin.list('listSystemVms'), []);

  await admin.call('updateZone', { id, allocationstate: 'Enabled' });
  const list: Zone['list'] = (...given) => admin.list(...given);
  const proxy = await upOf({ list }, 'consoleproxy');
  for (let look = 0; look < 3; look++) await management.reconciliation.runOnce('systemVm.zones');
  assert.deepEqual(
    (await admin.list('listSystemVms')).map((vm) => vm.id),
    [proxy.id],
    'one console proxy, and nothing for secondary storage that is not there',
  );
  await assert.rejects(
    admin.call('registerTemplate', {
      name: 'none',
      displaytext: 'none',
      url: 'http://images.simulated.example/none.qcow2',
      format: 'QCOW2',
      hypervisor: 'Simulator',
      zoneid: id,
    }),
    (error) => error instanceof ApiError && /has no writable secondary storage/.test(error.message),
    'whoever needs it is told why',
  );
  await ensureZone(admin, plan);
  const storage = await upOf({ list }, 'secondarystoragevm');
  assert.deepEqual((await admin.list('listSystemVms')).map((vm) => vm.id).sort(), [proxy.id, storage.id].sort());
});

test('system VMs of a zone', { timeout: 150_000 }, async (t) => {
  const zone = await startZone({ beatMs: 400 });
  t.after(() => zone.cloud.close());
  const steps: [string, (zone: Zone) => Promise<void>][] = [
    ['SV-01 CP-03 a console proxy takes exactly its offering, gives it back, and nothing counts for an account', capacity],
    ['SV-22 a secondary storage VM has a storage NIC where there is a storage network, and management serves else', storageNic],
    ['SV-13 the boot arguments of a router are whole, however long the user data of its guests', longUserData],
    ['VR-11 a restart of a network whose router is cut off fails with the reason, and the router catches up', cutOff],
  ];
  for (const [title, step] of steps) await t.test(title, () => step(zone));
});

const state = (zone: Zone, allocationstate: 'Enabled' | 'Disabled') => zone.call('updateZone', { id: zone.zoneId, allocationstate });
const look = async ({ cloud }: Zone): Promise<void> => {
  for (let again = 0; again < 2; again++) await cloud.management.reconciliation.runOnce('systemVm.zones');
};

async function capacity(zone: Zone) {
  const tenant = await addTenant(zone.cloud, 'counted');
  const network = await tenant.client.call('createNetwork', {
    zoneid: zone.zoneId,
    networkofferingid: zone.networkOfferingId,
    name: 'counted',
    displaytext: 'counted',
  });
  const { jobid } = await tenant.client.call('deployVirtualMachine', { ...zone.usual, networkids: network.network.id, name: 'counted' });
  await tenant.client.job('deployVirtualMachine', jobid);
  const counts = ['vmtotal', 'cputotal', 'memorytotal', 'iptotal', 'volumetotal', 'primarystoragetotal', 'networktotal'];
  const held = async () =>
    (await zone.list('listAccounts', { listall: true })).map((account) => [account.name, ...counts.map((count) => account[count])]);
  const taken = async () => {
    const hosts = await zone.list('listHosts', { type: 'Routing' });
    const sum = (field: string): number => hosts.reduce((total, host) => total + Number(host[field]), 0);
    return { cpuMhz: sum('cpuallocatedvalue'), memoryMib: sum('memoryallocatedbytes') / 2 ** 20 };
  };
  const proxy = await upOf(zone, 'consoleproxy');
  const [offering] = await zone.list('listServiceOfferings', { issystem: true, id: proxy.serviceofferingid });
  const [before, accounts] = [await taken(), await held()];
  assert.ok(accounts.some(([name, ...own]) => name === 'counted' && own.slice(0, 3).every((count) => count > 0)));

  await state(zone, 'Disabled');
  await zone.run('destroySystemVm', { id: proxy.id });
  await look(zone);
  assert.deepEqual(await zone.list('listSystemVms', { systemvmtype: 'consoleproxy' }), [], 'a zone that is Disabled gets no other');
  assert.deepEqual(await taken(), {
    cpuMhz: before.cpuMhz - offering.cpunumber * offering.cpuspeed,
    memoryMib: before.memoryMib - offering.memory,
  });
  assert.deepEqual(await held(), accounts);

  await state(zone, 'Enabled');
  const next = await upOf(zone, 'consoleproxy');
  assert.notEqual(next.id, proxy.id);
  assert.deepEqual(await taken(), before);
  assert.deepEqual(await held(), accounts);
}

async function storageNic(zone: Zone) {
  const nics = async ({ id }: Reply): Promise<{ roles: string[]; address: string; storage: string | undefined }> => {
    const boot = [...zone.cloud.hosts.values()].flatMap((host) => host.specOf(id) ?? [])[0]?.boot;
    assert.ok(boot?.kind === 'direct');
    const plugged = parseBootArguments(boot.arguments).nics;
    const [agent] = await zone.cloud.db.rows<{ address: string }>('SELECT address FROM agent WHERE id = ?', [id]);
    return {
      roles: plugged.map(({ role }) => role),
      address: agent?.address ?? '',
      storage: plugged.find(({ role }) => role === 'storage')?.address ?? undefined,
    };
  };
  const another = async (between: () => Promise<unknown>): Promise<Reply> => {
    const old = await upOf(zone, 'secondarystoragevm');
    await state(zone, 'Disabled');
    await zone.run('destroySystemVm', { id: old.id });
    await between();
    await state(zone, 'Enabled');
    const next = await upOf(zone, 'secondarystoragevm');
    assert.notEqual(next.id, old.id);
    return next;
  };
  const plain = await upOf(zone, 'secondarystoragevm');
  assert.deepEqual(await nics(plain), { roles: ['control', 'management', 'public'], address: plain.privateip, storage: undefined });

  const [physical] = await zone.list('listPhysicalNetworks', { zoneid: zone.zoneId });
  const [pod] = await zone.list('listPods', { zoneid: zone.zoneId });
  const with4 = await another(async () => {
    await zone.run('addTrafficType', { physicalnetworkid: physical.id, traffictype: 'Storage', kvmnetworklabel: 'cloudbr2' });
    const range = { gateway: '172.29.0.1', netmask: '255.255.255.0', startip: '172.29.0.10', endip: '172.29.0.20' };
    await zone.run('createStorageNetworkIpRange', { podid: pod.id, ...range });
  });
  const apart = await nics(with4);
  assert.deepEqual(apart.roles, ['control', 'management', 'public', 'storage']);
  assert.match(apart.storage ?? '', /^172\.29\.0\./);
  assert.equal(apart.address, apart.storage, 'hosts fetch images over the storage network');
  const proxy = await upOf(zone, 'consoleproxy');
  assert.deepEqual((await nics(proxy)).roles, ['control', 'management', 'public'], 'a console proxy has no business there');

  const back = await another(async () => {
    const [range] = await zone.list('listStorageNetworkIpRange', { zoneid: zone.zoneId });
    await zone.run('deleteStorageNetworkIpRange', { id: range.id });
  });
  assert.deepEqual(await nics(back), { roles: ['control', 'management', 'public'], address: back.privateip, storage: undefined });
}

async function longUserData(zone: Zone) {
  const network = await zone.network('wordy');
  const userdata = Buffer.from('#!/bin/sh\n'.concat('# word '.repeat(3000))).toString('base64');
  assert.ok(userdata.length > 20_000);
  const vm = await zone.deploy({ networkids: network.id, name: 'wordy', userdata });
  const [router] = await zone.list('listRouters', { networkid: network.id });
  const boot = [...zone.cloud.hosts.values()].flatMap((host) => host.specOf(router.id) ?? [])[0]?.boot;
  assert.ok(boot?.kind === 'direct');
  // What x86 takes; the kernel would cut off the rest without a word.
  assert.ok(boot.arguments.length < 2040, `${boot.arguments.length} characters`);
  const parsed = parseBootArguments(boot.arguments);
  assert.equal(parsed.name, router.name);
  assert.deepEqual(
    parsed.nics.map(({ role }) => role),
    ['guest', 'control', 'public'],
  );
  const told = JSON.stringify(zone.cloud.systemVms.get(router.id)?.configuration());
  assert.ok(told.includes(userdata) || told.includes(Buffer.from(userdata, 'base64').toString()), 'it goes over the link, whole');
  assert.equal(vm.state, 'Running');
}

async function cutOff(zone: Zone) {
  const { cloud } = zone;
  const network = await zone.network('cut');
  await zone.deploy({ networkids: network.id, name: 'cut-1' });
  const [router] = await zone.list('listRouters', { networkid: network.id });
  const generation = (): number => cloud.systemVms.get(router.id)?.configuration()?.generation ?? 0;
  const before = generation();
  await cloud.cutHost(router.hostid);
  try {
    await assert.rejects(
      zone.run('restartNetwork', { id: network.id, cleanup: false }, { timeoutSeconds: 60 }),
      (error) => error instanceof ApiError && /no link|link|Unreachable/i.test(error.message),
    );
    assert.equal(generation(), before, 'it could not be told');
  } finally {
    cloud.mendHost(router.hostid);
  }
  await eventually('the router has caught up', async () => generation() > before);
  assert.equal((await zone.list('listRouters', { networkid: network.id }))[0].id, router.id);
  await eventually('the cloud knows it', async () => {
    const [row] = await cloud.db.rows<{ behind: number }>(
      'SELECT configuration_generation - applied_generation AS behind FROM network WHERE id = ?',
      [network.id],
    );
    return Number(row?.behind) === 0;
  });
}
