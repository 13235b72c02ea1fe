/** The whole road of a guest over HTTP, in a cloud of simulated hosts, and what is left when it is gone: nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, eventually, type Reply } from '../../lab/client.ts';
import { startZone, type Zone } from './zone.ts';

test('guests and their networks in a simulated cloud', { timeout: 150_000 }, async (t) => {
  const zone = await startZone();
  t.after(() => zone.cloud.close());
  const steps: [string, (zone: Zone) => Promise<void>][] = [
    ['the zone makes its own system VMs', systemVms],
    ['a guest lives from its deployment to its last trace', wholeLife],
    ['two deployments into a fresh network share one router', freshNetwork],
    ['twenty deployments at once have an address each', twenty],
    ['a network that nobody uses loses its router and returns with the same address', garbage],
    ['a network is restarted with a new router, and deleted', restarted],
    ['a deployment without room is refused with what was short, and leaves nothing', noRoom],
  ];
  for (const [title, step] of steps) {
    await t.test(title, async () => {
      await step(zone);
      await zone.holds();
    });
  }
});

async function systemVms({ list }: Zone) {
  // Their agents may already be at work while their starts come to an end.
  const found = await eventually('no system VM is on its way', async () => {
    const all = await list('listSystemVms');
    return all.every(({ state }) => state !== 'Starting') && all;
  });
  assert.deepEqual(found.map(({ systemvmtype, state, agentstate }) => [systemvmtype, state, agentstate]).sort(), [
    ['consoleproxy', 'Running', 'Up'],
    ['secondarystoragevm', 'Running', 'Up'],
  ]);
}

async function wholeLife(zone: Zone) {
  const { cloud, call, run, list, network, vm } = zone;
  const before = await footprint(zone);
  const { keypair } = await call('createSSHKeyPair', { name: 'one' });
  assert.match(keypair.privatekey, /PRIVATE KEY/);
  const net = await network('life');
  assert.equal(net.state, 'Allocated');
  assert.deepEqual(await list('listRouters', { networkid: net.id }), [], 'a network that nobody uses has no router');

  const userdata = Buffer.from('#!/bin/sh\ntrue\n').toString('base64');
  const started = await call('deployVirtualMachine', { ...zone.usual, networkids: net.id, name: 'life-1', keypair: 'one', userdata });
  assert.ok(started.id && started.jobid, 'a deployment answers with the id of the machine and of its job');
  const { virtualmachine: made } = await cloud.admin.job('deployVirtualMachine', started.jobid);
  assert.equal(made.id, started.id);
  assert.equal(made.state, 'Running');
  assert.equal(made.keypairs, 'one');
  const [nic] = made.nic;
  assert.equal((await list('listNetworks', { id: net.id }))[0].state, 'Implemented');

  const [router] = await list('listRouters', { networkid: net.id });
  assert.equal(router.state, 'Running');
  const configuration = () => {
    const applied = cloud.systemVms.get(router.id)?.configuration();
    assert.ok(applied, 'the router has a configuration');
    return applied;
  };
  const { dhcp, dns, sourceNat, userData } = configuration();
  assert.deepEqual(
    dhcp?.hosts.map(({ mac, address, hostName }) => ({ mac, address, hostName })),
    [{ mac: nic.macaddress, address: nic.ipaddress, hostName: 'life-1' }],
  );
  assert.ok(dns?.records.some((record) => record.name === 'life-1' && record.address === nic.ipaddress));
  assert.equal(sourceNat?.publicAddress, router.publicip);
  const guest = userData?.guests.find(({ address }) => address === nic.ipaddress);
  assert.equal(guest?.userData, userdata);
  assert.match(guest?.metadata['public-keys'] ?? '', /^ssh-/);

  const host = cloud.hosts.get(made.hostid);
  const spec = host?.specOf(made.id);
  assert.equal(spec?.name, made.instancename);
  assert.deepEqual([spec?.memoryMib, spec?.cpuCount, spec?.cpuMhz], [made.memory, made.cpunumber, made.cpuspeed]);
  assert.deepEqual(
    spec?.nics.map(({ mac, attachment, addresses }) => ({ mac, attachment, addresses })),
    [{ mac: nic.macaddress, attachment: { kind: 'vxlan', vni: 100 }, addresses: [nic.ipaddress] }],
  );
  const listed = await vm(made.id);
  for (const field of ['state', 'hostid', 'instancename', 'ipaddress', 'name']) assert.equal(listed[field], made[field], field);
  assert.equal((await list('listVolumes', { virtualmachineid: made.id, type: 'ROOT' })).length, 1);

  const stopped = (await run('stopVirtualMachine', { id: made.id })).virtualmachine;
  assert.deepEqual([stopped.state, stopped.hostid], ['Stopped', undefined]);
  assert.equal(host?.specOf(made.id), null);
  await assert.rejects(run('rebootVirtualMachine', { id: made.id }), (error: ApiError) => error.status === 431);
  assert.equal(
    (await run('resetPasswordForVirtualMachine', { id: made.id }).catch((error: ApiError) => error)).status,
    431,
    'its template has no password',
  );
  const started2 = (await run('startVirtualMachine', { id: made.id })).virtualmachine;
  assert.deepEqual([started2.state, started2.nic[0].ipaddress, started2.nic[0].macaddress], ['Running', nic.ipaddress, nic.macaddress]);
  assert.equal((await run('rebootVirtualMachine', { id: made.id })).virtualmachine.state, 'Running');

  assert.equal((await run('destroyVirtualMachine', { id: made.id })).virtualmachine.state, 'Destroyed');
  assert.equal((await call('recoverVirtualMachine', { id: made.id })).virtualmachine.state, 'Stopped');
  await run('startVirtualMachine', { id: made.id });
  await run('destroyVirtualMachine', { id: made.id });
  assert.deepEqual(await run('expungeVirtualMachine', { id: made.id }), { success: true });
  assert.deepEqual(await list('listVirtualMachines', { id: made.id }), []);
  await eventually('the router forgets the guest', async () => configuration().dhcp?.hosts.length === 0);

  await run('deleteNetwork', { id: net.id });
  await call('deleteSSHKeyPair', { name: 'one' });
  assert.deepEqual(await footprint(zone), before, 'a guest and its network leave nothing behind');
}

/** What tenants have taken of the cloud: hosts' capacity, addresses, machines, files. */
async function footprint({ cloud }: Zone) {
  const { db } = cloud.management.services;
  return {
    capacity: await db.rows('SELECT SUM(cpu_mhz_reserved) AS cpu, SUM(memory_mib_reserved) AS memory FROM host'),
    publicIps: await db.rows(`SELECT COUNT(*) AS n FROM public_ip WHERE state <> 'Free'`),
    privateAddresses: await db.rows('SELECT COUNT(*) AS n FROM private_address WHERE nic_id IS NOT NULL'),
    guestAddresses: await db.rows('SELECT COUNT(*) AS n FROM guest_address'),
    nics: await db.rows('SELECT COUNT(*) AS n FROM nic WHERE removed_at IS NULL'),
    machines: (await Promise.all([...cloud.hosts.values()].map(({ machines }) => machines.list()))).flat().length,
    volumes: [...cloud.storage.values()]
      .flatMap((pools) => [...pools.values()].map(({ volumes }) => volumes.size))
      .reduce((a, b) => a + b, 0),
    keys: await db.rows('SELECT COUNT(*) AS n FROM vm_key'),
    metadata: await db.rows('SELECT COUNT(*) AS n FROM guest_metadata'),
  };
}

async function freshNetwork({ network, deploy, list, run }: Zone) {
  const net = await network('fresh');
  const vms = await Promise.all(['fresh-1', 'fresh-2'].map((name) => deploy({ networkids: net.id, name })));
  assert.equal((await list('listRouters', { networkid: net.id })).length, 1);
  assert.notEqual(vms[0].ipaddress, vms[1].ipaddress);
  const third = await deploy({ networkids: net.id, name: 'fresh-3', ipaddress: '10.1.1.200' });
  assert.equal(third.ipaddress, '10.1.1.200');
  for (const { id } of [...vms, third]) await run('destroyVirtualMachine', { id, expunge: true });
  await run('deleteNetwork', { id: net.id });
}

async function twenty({ network, deploy, run, list }: Zone) {
  const net = await network('twenty');
  const names = Array.from({ length: 20 }, (_, i) => `twenty-${i}`);
  const vms: Reply[] = await Promise.all(names.map((name) => deploy({ networkids: net.id, name }, { pollMs: 500 })));
  assert.equal(new Set(vms.map(({ ipaddress }) => ipaddress)).size, 20);
  assert.equal((await list('listVirtualMachines', { networkid: net.id, state: 'Running' })).length, 20);
  await Promise.all(vms.map(({ id }) => run('destroyVirtualMachine', { id, expunge: true }, { pollMs: 500 })));
  await run('deleteNetwork', { id: net.id });
}

async function garbage({ network, deploy, run, list, settings }: Zone) {
  const net = await network('idle');
  const { id } = await deploy({ networkids: net.id, name: 'idle-1' });
  const [first] = await list('listRouters', { networkid: net.id });
  await run('stopVirtualMachine', { id });
  await settings({ 'network.gc.interval': '1', 'network.gc.wait': '1' });
  await eventually('the network is shut down', async () => (await list('listNetworks', { id: net.id }))[0].state === 'Allocated');
  assert.deepEqual(await list('listRouters', { networkid: net.id }), []);
  const [nat] = await list('listPublicIpAddresses', { associatednetworkid: net.id });
  assert.equal(nat?.ipaddress, first.publicip, 'its source NAT address stays its own');
  await settings({ 'network.gc.interval': '600', 'network.gc.wait': '600' });
  await run('startVirtualMachine', { id });
  const [second] = await list('listRouters', { networkid: net.id });
  assert.equal(second.publicip, first.publicip);
  assert.notEqual(second.id, first.id);
  await run('destroyVirtualMachine', { id, expunge: true });
  await run('deleteNetwork', { id: net.id });
  assert.deepEqual(await list('listPublicIpAddresses', { associatednetworkid: net.id }), []);
}

async function restarted({ network, deploy, run, list, cloud }: Zone) {
  const net = await network('again');
  const { id, ipaddress } = await deploy({ networkids: net.id, name: 'again-1' });
  const [first] = await list('listRouters', { networkid: net.id });
  const generation = () => cloud.systemVms.get(first.id)?.configuration()?.generation ?? 0;
  const before = generation();
  assert.deepEqual(await run('restartNetwork', { id: net.id }), { success: true });
  assert.ok(generation() > before, 'the router was told again');
  await run('restartNetwork', { id: net.id, cleanup: true });
  const [second, ...others] = await list('listRouters', { networkid: net.id });
  assert.equal(others.length, 0);
  assert.notEqual(second.id, first.id);
  assert.equal(second.publicip, first.publicip);
  const hosts = cloud.systemVms.get(second.id)?.configuration()?.dhcp?.hosts ?? [];
  assert.deepEqual(
    hosts.map(({ address }) => address),
    [ipaddress],
  );
  await assert.rejects(run('deleteNetwork', { id: net.id }), (error: ApiError) => error.status === 536);
  await run('destroyVirtualMachine', { id, expunge: true });
  await run('deleteNetwork', { id: net.id });
}

async function noRoom({ network, call, cloud, usual, list, run, zoneId }: Zone) {
  const { serviceoffering: huge } = await call('createServiceOffering', {
    name: 'Huge',
    displaytext: 'Huge',
    cpunumber: 2,
    cpuspeed: 500,
    memory: 1_000_000,
  });
  const net = await network('full');
  const refused = await cloud.admin
    .run('deployVirtualMachine', { ...usual, serviceofferingid: huge.id, networkids: net.id, name: 'full-1' })
    .catch((error: ApiError) => error);
  assert.ok(refused instanceof ApiError);
  assert.equal(refused.status, 533);
  assert.match(refused.body.errortext, /MiB of memory left and 1000000 are wanted/);
  assert.equal(
    (
      await cloud.management.services.db.rows(
        'SELECT 1 FROM reservation r JOIN machine m ON m.id = r.machine_id WHERE m.memory_mib = 1000000',
      )
    ).length,
    0,
  );
  const [failed] = await list('listVirtualMachines', { zoneid: zoneId, name: 'full-1' });
  assert.equal(failed.state, 'Error');
  await run('destroyVirtualMachine', { id: failed.id, expunge: true });
  await run('deleteNetwork', { id: net.id });
  await call('deleteServiceOffering', { id: huge.id });
}
