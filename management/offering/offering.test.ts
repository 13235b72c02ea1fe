import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Api, withApi } from '../account/api.testing.ts';
import { newServiceOffering } from './new-rows.ts';
import { systemOfferingFor } from './seed.ts';
import { chooseServices } from './services.ts';
import { diskGibOf, sizeOf } from './sizes.ts';
import { mayUse } from './visibility.ts';

test('offerings through the API', { timeout: 120_000 }, async (t) => {
  await withApi(async (api) => {
    await t.test('the stock offerings are there once, and system VMs have theirs', () => stock(api));
    await t.test('service offerings', () => serviceOfferings(api));
    await t.test('disk offerings', () => diskOfferings(api));
    await t.test('network offerings', () => networkOfferings(api));
    await t.test('offerings of a domain are seen by it and changed by its admin alone', () => limited(api));
  });
});

const named = (rows: { name: string }[] | undefined) => (rows ?? []).map(({ name }) => name);

async function stock({ admin, services }: Api) {
  const service = (await admin('listServiceOfferings')).body.serviceoffering;
  assert.deepEqual(named(service), ['Small Instance', 'Medium Instance']);
  assert.deepEqual(
    [service[0].cpunumber, service[0].cpuspeed, service[0].memory, service[0].iscustomized, service[0].issystem],
    [1, 500, 512, false, false],
  );
  const disk = (await admin('listDiskOfferings')).body.diskoffering;
  assert.deepEqual(
    disk.map(({ name, disksize, iscustomized }: { name: string; disksize: number; iscustomized: boolean }) => [
      name,
      disksize,
      iscustomized,
    ]),
    [
      ['Small', 5, false],
      ['Medium', 20, false],
      ['Large', 100, false],
      ['Custom', 0, true],
    ],
  );
  const network = (await admin('listNetworkOfferings', { isdefault: 'true' })).body.networkoffering;
  assert.deepEqual(named(network), ['DefaultIsolatedNetworkOfferingWithSourceNatService', 'DefaultIsolatedNetworkOffering']);
  assert.deepEqual(network[0].service[0], { name: 'Dhcp', provider: [{ name: 'VirtualRouter' }] });
  assert.equal(network[0].availability, 'Required');
  const system = (await admin('listServiceOfferings', { issystem: 'true' })).body.serviceoffering;
  assert.deepEqual(system.map(({ systemvmtype }: { systemvmtype: string }) => systemvmtype).sort(), [
    'consoleproxy',
    'domainrouter',
    'secondarystoragevm',
  ]);
  for (const kind of ['console-proxy', 'secondary-storage', 'router'] as const)
    assert.ok((await systemOfferingFor(services.db.read, kind)).memoryMib >= 128);
  assert.equal((await admin('deleteServiceOffering', { id: system[0].id })).status, 431);
  assert.equal((await admin('updateServiceOffering', { id: system[0].id, state: 'Inactive' })).status, 431);
}

async function serviceOfferings({ admin, account }: Api) {
  const create = (params: Record<string, string>) => admin('createServiceOffering', params);
  const fixed = await create({ name: 'f', cpunumber: '2', memory: '2048', hosttags: ' a, b,a,', rootdisksize: '20' });
  const { serviceoffering: made } = fixed.body;
  assert.deepEqual(
    [made.cpunumber, made.cpuspeed, made.memory, made.displaytext, made.hosttags, made.rootdisksize, made.state],
    [2, 1000, 2048, 'f', 'a,b', 20, 'Active'],
    'the MHz are not asked for',
  );
  const custom = (await create({ name: 'c', customized: 'true', mincpunumber: '2', maxcpunumber: '4', minmemory: '512' })).body
    .serviceoffering;
  assert.equal(custom.iscustomized, true);
  assert.equal('cpunumber' in custom || 'cpuspeed' in custom || 'memory' in custom, false);
  assert.deepEqual(custom.serviceofferingdetails, { mincpunumber: '2', maxcpunumber: '4', minmemory: '512' });
  for (const params of [
    { name: 'x', cpunumber: '2' },
    { name: 'x', cpunumber: '0', memory: '512' },
    { name: 'x', cpunumber: 'two', memory: '512' },
    { name: 'x', cpunumber: '1', memory: '512', customized: 'true' },
    { name: 'x', cpunumber: '1', memory: '512', maxmemory: '1024' },
    { name: 'x', customized: 'true', mincpunumber: '4', maxcpunumber: '2' },
    { name: 'x', customized: 'false' },
    { name: ' ', cpunumber: '1', memory: '512' },
    { name: 'x', cpunumber: '1', memory: '1' },
  ])
    assert.equal((await create(params as never)).status, 431, JSON.stringify(params));
  assert.deepEqual(named((await admin('listServiceOfferings', { cpunumber: '3' })).body.serviceoffering), ['c']);
  assert.deepEqual(named((await admin('listServiceOfferings', { memory: '2048', cpunumber: '2' })).body.serviceoffering), ['f', 'c']);

  const user = await account('so-user', { accounttype: '0' });
  assert.equal((await user.call('listServiceOfferings', { issystem: 'true' })).status, 531);
  assert.equal((await user.call('createServiceOffering', { name: 'u', cpunumber: '1', memory: '64' })).status, 432);
  const { id } = made;
  const updated = await admin('updateServiceOffering', { id, name: 'f2', state: 'inactive', hosttags: '' });
  assert.deepEqual(
    [updated.body.serviceoffering.name, updated.body.serviceoffering.state, updated.body.serviceoffering.hosttags],
    ['f2', 'Inactive', undefined],
  );
  assert.equal(named((await user.call('listServiceOfferings', { state: 'All' })).body.serviceoffering).includes('f2'), false);
  assert.equal(named((await admin('listServiceOfferings')).body.serviceoffering).includes('f2'), false);
  assert.equal(named((await admin('listServiceOfferings', { state: 'All' })).body.serviceoffering).includes('f2'), true);
  assert.deepEqual((await admin('deleteServiceOffering', { id })).body, { success: true });
  assert.deepEqual((await admin('listServiceOfferings', { id })).body, {}, 'a removed one is an empty list');
  const again = await admin('deleteServiceOffering', { id });
  assert.match(
    again.body.errortext,
    new RegExp(`Invalid parameter id value=${id} due to incorrect long value format, or entity does not exist`),
  );
}

async function diskOfferings({ admin, account, services }: Api) {
  const create = (params: Record<string, string>) => admin('createDiskOffering', params);
  const hidden = (await create({ name: 'hidden', disksize: '7', displayoffering: 'false' })).body.diskoffering;
  assert.deepEqual([hidden.disksize, hidden.displayoffering, hidden.provisioningtype, hidden.storagetype], [7, false, 'thin', 'shared']);
  const user = await account('do-user', { accounttype: '0' });
  assert.equal(named((await user.call('listDiskOfferings')).body.diskoffering).includes('hidden'), false);
  assert.equal((await user.call('listDiskOfferings', { id: hidden.id })).status, 431);
  for (const params of [{ name: 'x' }, { name: 'x', disksize: '5', customized: 'true' }, { name: 'x', disksize: '0' }])
    assert.equal((await create(params as never)).status, 431, JSON.stringify(params));
  assert.equal((await admin('updateDiskOffering', { id: hidden.id, displayoffering: 'true' })).body.diskoffering.displayoffering, true);
  assert.equal(named((await user.call('listDiskOfferings')).body.diskoffering).includes('hidden'), true);
  assert.equal((await admin('deleteDiskOffering', { id: hidden.id })).status, 200);

  const custom = { name: 'Custom', state: 'Active', sizeGib: null } as const;
  assert.equal(diskGibOf(custom, 12, services.settings), 12);
  assert.throws(() => diskGibOf(custom, 1025, services.settings), /from 1 to 1024/);
  await admin('updateConfiguration', { name: 'custom.diskoffering.size.max', value: '2000' });
  assert.equal(diskGibOf(custom, 1025, services.settings), 1025, 'a setting counts at once');
}

async function networkOfferings({ admin, account, services }: Api) {
  const create = (params: Record<string, string>) =>
    admin('createNetworkOffering', { guestiptype: 'Isolated', traffictype: 'GUEST', ...params });
  const made = await create({
    name: 'n',
    supportedservices: 'Dhcp,dns,SourceNat',
    'serviceproviderlist[0].service': 'Dhcp',
    'serviceproviderlist[0].provider': 'virtualrouter',
    egressdefaultpolicy: 'true',
  });
  const { networkoffering } = made.body;
  assert.equal(networkoffering.state, 'Disabled');
  assert.equal(networkoffering.egressdefaultpolicy, true);
  assert.deepEqual(
    networkoffering.service.map(({ name, provider }: { name: string; provider: { name: string }[] }) => [name, provider[0]?.name]),
    [
      ['Dhcp', 'VirtualRouter'],
      ['Dns', 'VirtualRouter'],
      ['SourceNat', 'VirtualRouter'],
    ],
  );
  const lb = await create({ name: 'x', supportedservices: 'Dhcp,Lb' });
  assert.equal(lb.status, 431);
  assert.match(lb.body.errortext, /Lb is not available; available are Dhcp, Dns, UserData, SourceNat, Firewall/);
  assert.equal((await create({ name: 'x', guestiptype: 'Shared' })).status, 431);
  assert.equal((await create({ name: 'x', supportedservices: 'Firewall' })).status, 431);
  const ovs = await create({ name: 'x', 'serviceproviderlist[0].service': 'Dhcp', 'serviceproviderlist[0].provider': 'Ovs' });
  assert.match(ovs.body.errortext, /provider Ovs is not available/);
  const user = await account('no-user', { accounttype: '0' });
  const { id } = networkoffering;
  assert.equal(named((await user.call('listNetworkOfferings')).body.networkoffering).includes('n'), false, 'a disabled one');
  assert.equal((await admin('updateNetworkOffering', { id, state: 'Enabled' })).body.networkoffering.state, 'Enabled');
  assert.deepEqual(
    named((await user.call('listNetworkOfferings', { sourcenatsupported: 'true', isdefault: 'false' })).body.networkoffering),
    ['n'],
  );
  assert.equal(
    named((await user.call('listNetworkOfferings', { supportedservices: 'Dhcp,UserData' })).body.networkoffering).includes('n'),
    false,
  );
  assert.match((await admin('updateNetworkOffering', { name: 'y' })).body.errortext, /missing parameter id/);

  const { body } = await admin('listNetworkOfferings', { availability: 'Required' });
  assert.match((await admin('deleteNetworkOffering', { id: body.networkoffering[0].id })).body.errortext, /default network offering/);
  await services.db.rows(
    "SET STATEMENT sql_mode = '' FOR INSERT INTO network (id, network_offering_id, name, state) VALUES (UUID(), ?, 'n', 'Allocated')",
    [id],
  );
  assert.equal((await admin('deleteNetworkOffering', { id })).status, 536);
  await services.db.rows('UPDATE network SET removed_at = NOW(3)');
  assert.equal((await admin('deleteNetworkOffering', { id })).status, 200);
}

async function limited({ admin, account }: Api) {
  const { domain: a } = (await admin('createDomain', { name: 'oa' })).body;
  const { domain: below } = (await admin('createDomain', { name: 'below', parentdomainid: a.id })).body;
  const { domain: b } = (await admin('createDomain', { name: 'ob' })).body;
  const boss = await account('oboss', { accounttype: '2', domainid: a.id });
  const inside = await account('oinside', { accounttype: '0', domainid: below.id });
  const outside = await account('ooutside', { accounttype: '0', domainid: b.id });
  const made = await boss.call('createServiceOffering', { name: 'ours', cpunumber: '1', memory: '64' });
  assert.equal(made.body.serviceoffering.domainid, a.id, 'that of a domain admin is for his domain');
  const { id } = made.body.serviceoffering;
  assert.equal(named((await inside.call('listServiceOfferings')).body.serviceoffering).includes('ours'), true);
  assert.equal(named((await outside.call('listServiceOfferings')).body.serviceoffering).includes('ours'), false);
  assert.equal((await outside.call('listServiceOfferings', { id })).status, 431);
  assert.equal(
    (await boss.call('createDiskOffering', { name: 'x', disksize: '1', domainid: b.id })).status,
    431,
    'not for a foreign domain',
  );
  const theirs = (await admin('createServiceOffering', { name: 'theirs', cpunumber: '1', memory: '64', domainid: `${a.id},${b.id}` })).body
    .serviceoffering;
  assert.equal(named((await boss.call('listServiceOfferings')).body.serviceoffering).includes('theirs'), true);
  assert.equal((await boss.call('updateServiceOffering', { id: theirs.id, name: 'z' })).status, 431, 'it is not his alone');
  const stock = (await admin('listServiceOfferings', { name: 'Small Instance' })).body.serviceoffering[0].id;
  assert.equal((await boss.call('deleteServiceOffering', { id: stock })).status, 431);
  assert.equal((await boss.call('updateServiceOffering', { id, name: 'ours2' })).body.serviceoffering.name, 'ours2');
  assert.equal((await boss.call('deleteServiceOffering', { id })).status, 200);
}

test('the size of a machine of an offering', () => {
  const fixed = newServiceOffering({ name: 'f', cpuCount: 2, cpuMhz: 500, memoryMib: 512 });
  assert.deepEqual(sizeOf(fixed), { cpuCount: 2, cpuMhz: 500, memoryMib: 512 });
  assert.throws(() => sizeOf(fixed, { memory: '1024' }), /fixed size/);
  assert.throws(() => sizeOf({ ...fixed, state: 'Inactive' }), /not active/);
  const custom = newServiceOffering({ name: 'c', minCpuCount: 2, maxCpuCount: 4, maxMemoryMib: 4096 });
  assert.deepEqual(sizeOf(custom, { cpuNumber: '3', memory: '1024' }), { cpuCount: 3, cpuMhz: 1000, memoryMib: 1024 });
  assert.deepEqual(sizeOf(custom, { cpuNumber: '3', memory: '1024', cpuSpeed: '700' }).cpuMhz, 700);
  for (const details of [
    {},
    { cpuNumber: '3' },
    { cpuNumber: '1', memory: '1024' },
    { cpuNumber: '5', memory: '1024' },
    { cpuNumber: '3', memory: '8192' },
    { cpuNumber: '3', memory: '31' },
    { cpuNumber: '2.5', memory: '1024' },
    { cpuNumber: '', memory: '1024' },
    { cpuNumber: '3', memory: '1024', cpuSpeed: '0' },
  ])
    assert.throws(() => sizeOf(custom, details), /leaves the size to you/, JSON.stringify(details));
  assert.equal(sizeOf({ ...custom, cpuMhz: 800 }, { cpuNumber: '2', memory: '64' }).cpuMhz, 800);
  assert.throws(() => sizeOf({ ...custom, cpuMhz: 800 }, { cpuNumber: '2', memory: '64', cpuSpeed: '900' }), /fixed size/);
});

test('who may use the offerings of a domain, and services that are chosen', () => {
  const user = { accountType: 'user', domainPath: '/a/b/' } as const;
  assert.equal(mayUse(user, [], 'use'), true);
  assert.equal(mayUse(user, ['/a/'], 'use'), true);
  assert.equal(mayUse(user, ['/a/b/c/'], 'use'), false);
  assert.equal(mayUse(user, ['/a/b/'], 'operate'), false);
  const boss = { accountType: 'domainAdmin', domainPath: '/a/' } as const;
  assert.equal(mayUse(boss, ['/a/b/'], 'operate'), true);
  assert.equal(mayUse(boss, ['/a/b/', '/c/'], 'operate'), false);
  assert.equal(mayUse(boss, [], 'operate'), false);
  assert.deepEqual(chooseServices([], []), {});
  assert.throws(() => chooseServices(['Dhcp'], [{ service: 'Dns', provider: 'VirtualRouter' }]), /which supportedservices does not/);
  assert.throws(() => chooseServices([], [{ service: 'Dns' }]), /a service and a provider/);
});
