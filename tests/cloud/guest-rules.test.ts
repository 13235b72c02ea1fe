/** What may be asked for guests and their networks, what lists show of them, their ISOs and passwords, and what hosts keep of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ApiError, eventually, type Params, type Reply } from '../../lab/client.ts';
import { CloudError } from '../../protocol/errors.ts';
import { startZone, type Zone } from './zone.ts';

type Failure = (hostId: string, message: string, ask: unknown) => CloudError | null;
let failure: Failure = () => null;

test('rules of guests, in a simulated cloud', { timeout: 170_000 }, async (t) => {
  const zone = await startZone({ failure: (...given) => failure(...given) });
  t.after(() => zone.cloud.close());
  const steps: [string, (zone: Zone) => Promise<void>][] = [
    ['what a deployment may say of its NICs, disks and host', deployments],
    ['lists of guests filter by every parameter they offer', filters],
    ['a list shows the details that were asked for', details],
    ['guest networks keep away from addresses that mean something else', apart],
    ['addresses set apart for system VMs go to no tenant', setApart],
    ['a password is served until its guest has saved it, and not by the next router', passwords],
    ['a password is reset also while the router is away', resetWithoutRouter],
    ['VM-01: an ISO goes into the drive of a guest, running or not, and out again', isos],
    ['what hosts keep of a guest goes with it', remains],
  ];
  for (const [title, step] of steps) {
    await t.test(title, async () => {
      failure = () => null;
      await step(zone);
      failure = () => null;
      await zone.holds();
    });
  }
});

const refused = async (running: Promise<unknown>, status: number, text: RegExp): Promise<void> => {
  const error: ApiError = await running.then(
    () => assert.fail(`it was not refused, and should be with ${text}`),
    (reason: ApiError) => reason,
  );
  assert.equal(error.status, status, error.message);
  assert.match(error.body.errortext, text);
};

async function withGuest(zone: Zone, name: string, work: (vm: Reply, network: Reply) => Promise<void>, params: Params = {}) {
  const network = await zone.network(name);
  const vm = await zone.deploy({ networkids: network.id, name: `${name}-1`, ...params });
  await work(vm, network);
  await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  await zone.run('deleteNetwork', { id: network.id });
}

async function deployments(zone: Zone) {
  const [front, back] = [await zone.network('front'), await zone.network('back', { gateway: '10.2.2.1', netmask: '255.255.255.0' })];
  const deploy = (params: Params) => zone.deploy({ startvm: false, ...params });
  const vm = await deploy({ networkids: front.id, name: 'picky', macaddress: '02:00:4C:00:00:01', ipaddress: '10.1.1.77' });
  assert.deepEqual([vm.state, vm.nic[0].macaddress, vm.ipaddress], ['Stopped', '02:00:4c:00:00:01', '10.1.1.77']);
  await refused(deploy({ networkids: front.id, macaddress: '02:00:4c:00:00:01' }), 431, /MAC 02:00:4c:00:00:01 is taken/);
  await refused(deploy({ networkids: front.id, macaddress: '03:00:4c:00:00:01' }), 431, /invalid value/);
  await refused(deploy({ networkids: front.id, ipaddress: '10.1.1.77' }), 533, /10\.1\.1\.77 .* is taken/);
  await refused(deploy({ 'iptonetworklist[0].networkid': front.id, 'iptonetworklist[1].networkid': front.id }), 431, /is given twice/);
  const two = await zone.deploy({
    name: 'two',
    'iptonetworklist[0].networkid': front.id,
    'iptonetworklist[0].ip': '10.1.1.78',
    'iptonetworklist[1].networkid': back.id,
    'iptonetworklist[1].mac': '02:00:4c:00:00:02',
  });
  assert.equal(two.nic[0].ipaddress, '10.1.1.78');
  assert.equal(two.nic[1].macaddress, '02:00:4c:00:00:02');
  const hosts = async (networkid: string) => {
    const [router] = await zone.list('listRouters', { networkid });
    return zone.cloud.systemVms
      .get(router.id)
      ?.configuration()
      ?.dhcp?.hosts.find(({ hostName }) => hostName === 'two');
  };
  assert.equal((await hosts(front.id))?.isDefault, undefined);
  assert.equal((await hosts(back.id))?.isDefault, false, 'the second network names no gateway to it');

  const [fixed] = await zone.list('listDiskOfferings', { name: 'Small' });
  const [custom] = await zone.list('listDiskOfferings', { name: 'Custom' });
  await refused(deploy({ networkids: front.id, diskofferingid: fixed.id, size: 77 }), 431, /fixed size/);
  await zone.settings({ 'custom.diskoffering.size.max': '10' });
  await refused(deploy({ networkids: front.id, diskofferingid: custom.id, size: 11 }), 431, /from 1 to 10/);
  await zone.settings({ 'custom.diskoffering.size.max': '1024' });

  const { account } = await zone.call('createAccount', {
    username: 'tenant',
    password: 'Tenant-password-1',
    email: 't@example.org',
    firstname: 'T',
    lastname: 'T',
    accounttype: 0,
  });
  await refused(deploy({ networkids: front.id, account: 'tenant', domainid: account.domainid }), 431, /belongs to another account/);
  const first = await Promise.all(
    ['a', 'b'].map((name) => deploy({ name: `first-${name}`, account: 'tenant', domainid: account.domainid })),
  );
  const own = await zone.list('listNetworks', { account: 'tenant', domainid: account.domainid });
  assert.equal(own.length, 1, 'two first deployments at once share one network');
  for (const { id } of [vm, two, ...first]) await zone.run('destroyVirtualMachine', { id, expunge: true });
  for (const { id } of [front, back, ...own]) await zone.run('deleteNetwork', { id });
}

async function filters(zone: Zone) {
  const { keypair } = await zone.call('createSSHKeyPair', { name: 'filter' });
  assert.ok(keypair.privatekey);
  await withGuest(
    zone,
    'sieve',
    async (vm, network) => {
      const [volume] = await zone.list('listVolumes', { virtualmachineid: vm.id });
      const [host] = await zone.list('listHosts', { id: vm.hostid });
      const [other] = (await zone.list('listHosts', { type: 'Routing' })).filter(({ id }) => id !== vm.hostid);
      const offerings = await zone.list('listServiceOfferings');
      const [pool] = await zone.list('listStoragePools', { id: volume.storageid });
      const [otherPool] = (await zone.list('listStoragePools')).filter(({ id }) => id !== pool.id);
      const another = await zone.network('another');
      // Each with a value that the guest has, and one that it has not.
      const given: [string, string | boolean, string | boolean | null][] = [
        ['id', vm.id, null],
        ['ids', vm.id, null],
        ['name', 'sieve', 'nothing'],
        ['keyword', 'ieve-1', 'nothing'],
        ['state', 'running', 'Stopped'],
        ['state', 'Present', 'Destroyed'],
        ['zoneid', vm.zoneid, null],
        ['podid', host.podid, null],
        ['clusterid', host.clusterid, other.clusterid === host.clusterid ? null : other.clusterid],
        ['hostid', vm.hostid, other.id],
        ['storageid', pool.id, otherPool.id],
        ['networkid', network.id, another.id],
        ['templateid', vm.templateid, null],
        ['serviceofferingid', vm.serviceofferingid, offerings.find(({ id }: Reply) => id !== vm.serviceofferingid).id],
        ['userid', vm.userid, null],
        ['keypair', 'filter', 'other'],
        ['hypervisor', 'simulator', 'KVM'],
        ['haenable', vm.haenable, !vm.haenable],
        ['displayvm', true, false],
        ['listall', true, null],
        ['account', vm.account, null],
        ['domainid', vm.domainid, null],
      ];
      for (const [name, has, lacks] of given) {
        const found = async (value: string | boolean) =>
          (await zone.list('listVirtualMachines', { [name]: value })).some(({ id }) => id === vm.id);
        assert.equal(await found(has), true, `${name}=${has}`);
        if (lacks !== null) assert.equal(await found(lacks), false, `${name}=${lacks}`);
      }
      assert.equal(await zone.call('listVirtualMachines', { id: vm.id, retrieveonlyresourcecount: true }).then(({ count }) => count), 1);
      await refused(zone.call('listVirtualMachines', { id: vm.id, ids: vm.id }), 431, /either id or ids/);
      const nics = async (params: Params) => (await zone.list('listNics', { virtualmachineid: vm.id, ...params })).length;
      assert.deepEqual(
        [await nics({}), await nics({ networkid: network.id }), await nics({ networkid: another.id }), await nics({ nicid: vm.nic[0].id })],
        [1, 1, 0, 1],
      );
      await zone.run('deleteNetwork', { id: another.id });
    },
    { keypair: 'filter' },
  );
  await zone.call('deleteSSHKeyPair', { name: 'filter' });
}

const details = (zone: Zone) =>
  withGuest(zone, 'detail', async ({ id }) => {
    const shown = async (wanted: string) => Object.keys((await zone.list('listVirtualMachines', { id, details: wanted }))[0]);
    const min = await shown('min');
    for (const name of ['nic', 'templateid', 'serviceofferingid', 'rootdeviceid', 'memory'])
      assert.ok(!min.includes(name), `min shows ${name}`);
    for (const name of ['id', 'name', 'state', 'zoneid']) assert.ok(min.includes(name), `min does not show ${name}`);
    const some = await shown('nics,tmpl');
    assert.ok(some.includes('nic') && some.includes('templateid') && !some.includes('serviceofferingid'));
    assert.ok((await shown('all')).length > some.length);
    await refused(zone.call('listVirtualMachines', { details: 'min,nonsense' }), 431, /non permitted value nonsense/);
  });

async function apart(zone: Zone) {
  const [gateway, netmask] = ['169.254.7.1', '255.255.255.0'];
  await refused(zone.network('link-local', { gateway, netmask }), 431, /169\.254\.0\.0\/16/);
  await refused(zone.network('loopback', { gateway: '127.1.0.1', netmask }), 431, /127\.0\.0\.0\/8/);
  await refused(zone.network('multicast', { gateway: '239.1.0.1', netmask }), 431, /224\.0\.0\.0\/3/);
  await refused(zone.network('public', { gateway: '192.168.2.129', netmask: '255.255.255.128' }), 431, /public addresses of the zone/);
}

async function setApart(zone: Zone) {
  const [physical] = await zone.list('listPhysicalNetworks', { zoneid: zone.zoneId });
  const { vlan } = await zone.call('createVlanIpRange', {
    zoneid: zone.zoneId,
    physicalnetworkid: physical.id,
    vlan: 'untagged',
    gateway: '10.0.9.1',
    netmask: '255.255.255.0',
    startip: '10.0.9.2',
    endip: '10.0.9.9',
    forvirtualnetwork: true,
    forsystemvms: true,
  });
  const network = await zone.network('tenants');
  const [address] = await zone.list('listPublicIpAddresses', { associatednetworkid: network.id });
  assert.doesNotMatch(address.ipaddress, /^10\.0\.9\./);
  const [proxy] = await zone.list('listSystemVms', { systemvmtype: 'consoleproxy' });
  await zone.run('destroySystemVm', { id: proxy.id });
  const next = await eventually('another console proxy runs', async () => {
    const [found] = await zone.list('listSystemVms', { systemvmtype: 'consoleproxy' });
    return found?.state === 'Running' && found.agentstate === 'Up' ? found : null;
  });
  assert.match(next.publicip, /^10\.0\.9\./);
  const all = await zone.list('listPublicIpAddresses', { allocatedonly: false, account: 'admin', domainid: network.domainid });
  assert.ok(
    all.every(({ account }) => account === 'admin'),
    'an account is a filter here too',
  );
  await zone.run('deleteNetwork', { id: network.id });
  await zone.run('destroySystemVm', { id: next.id });
  await zone.call('updateConfiguration', { name: 'consoleproxy.launch.max', value: '10' });
  // Its successor takes one of them again, so the range stays.
  assert.ok(vlan.id);
}

async function passwordTemplate(zone: Zone): Promise<string> {
  const [known] = await zone.list('listTemplates', { templatefilter: 'all', name: 'with password' });
  if (known) return known.id;
  const { template } = await zone.call('registerTemplate', {
    name: 'with password',
    displaytext: 'with password',
    url: 'http://images.simulated.example/password.qcow2',
    format: 'QCOW2',
    hypervisor: 'Simulator',
    zoneid: zone.zoneId,
    passwordenabled: true,
  });
  await eventually(
    'the template is ready',
    async () => (await zone.list('listTemplates', { templatefilter: 'all', id: template[0].id }))[0]?.isready,
  );
  return template[0].id;
}

async function passwords(zone: Zone) {
  await withGuest(
    zone,
    'secret',
    async (vm, network) => {
      assert.match(vm.password, /^\S{8,}$/);
      const router = async () => (await zone.list('listRouters', { networkid: network.id }))[0];
      const served = async () => {
        const guests = zone.cloud.systemVms.get((await router()).id)?.configuration()?.userData?.guests;
        return guests?.find(({ address }) => address === vm.ipaddress)?.password?.text ?? null;
      };
      assert.equal(await served(), vm.password);
      zone.cloud.systemVms.get((await router()).id)?.savePassword(vm.ipaddress);
      await eventually('it is served no longer', async () => (await served()) === null, { timeoutSeconds: 10 });
      const before = await router();
      await zone.run('destroyRouter', { id: before.id });
      await eventually('another router runs', async () => {
        const next = await router();
        return next && next.id !== before.id && next.state === 'Running';
      });
      assert.equal(await served(), null, 'the next router does not hand it out again');
      await zone.run('stopVirtualMachine', { id: vm.id });
      const { virtualmachine } = await zone.run('resetPasswordForVirtualMachine', { id: vm.id });
      assert.notEqual(virtualmachine.password, vm.password);
      await eventually('the new one is served', async () => (await served()) === virtualmachine.password);
    },
    { templateid: await passwordTemplate(zone) },
  );
}

async function resetWithoutRouter(zone: Zone) {
  await withGuest(
    zone,
    'away',
    async (vm, network) => {
      await zone.run('stopVirtualMachine', { id: vm.id });
      const [router] = await zone.list('listRouters', { networkid: network.id });
      await zone.cloud.systemVms.get(router.id)?.link.close();
      const { virtualmachine } = await zone.run('resetPasswordForVirtualMachine', { id: vm.id }, { timeoutSeconds: 8 });
      assert.ok(virtualmachine.password);
      await zone.run('destroyRouter', { id: router.id });
      await eventually('another router runs', async () => {
        const [next] = await zone.list('listRouters', { networkid: network.id });
        return next && next.id !== router.id && next.state === 'Running';
      });
    },
    { templateid: await passwordTemplate(zone) },
  );
}

async function isos(zone: Zone) {
  const { iso } = await zone.call('registerIso', {
    name: 'rescue',
    displaytext: 'rescue',
    url: 'http://images.simulated.example/rescue.iso',
    zoneid: zone.zoneId,
    bootable: false,
  });
  const isoId = iso[0].id;
  await eventually('the ISO is ready', async () => (await zone.list('listIsos', { id: isoId }))[0]?.isready);
  const [disk] = await zone.list('listDiskOfferings', { name: 'Small' });
  const fromIso = { zoneid: zone.zoneId, serviceofferingid: zone.serviceOfferingId, templateid: isoId, diskofferingid: disk.id };
  await refused(zone.call('deployVirtualMachine', fromIso), 431, /requires an ISO that is bootable/);
  const { iso: disc } = await zone.call('registerIso', {
    name: 'installer',
    displaytext: 'installer',
    url: 'http://images.simulated.example/installer.iso',
    zoneid: zone.zoneId,
  });
  await eventually('the installer is ready', async () => (await zone.list('listIsos', { id: disc[0].id }))[0]?.isready);
  const install = { ...fromIso, templateid: disc[0].id, name: 'installed' };
  await refused(zone.call('deployVirtualMachine', { ...install, hypervisor: 'KVM' }), 431, /has no cluster of KVM/);
  const { virtualmachine: installed } = await zone.run('deployVirtualMachine', { ...install, hypervisor: 'simulator' });
  assert.deepEqual([installed.hypervisor, installed.isoid, installed.state], ['Simulator', disc[0].id, 'Running']);
  await zone.run('detachIso', { virtualmachineid: installed.id });
  assert.equal((await zone.run('rebootVirtualMachine', { id: installed.id })).virtualmachine.isoid, undefined);
  const usual = (await zone.list('listNetworks', { name: 'admin-network' }))[0];
  await zone.run('destroyVirtualMachine', { id: installed.id, expunge: true });
  await zone.run('deleteNetwork', { id: usual.id });
  await zone.run('deleteIso', { id: disc[0].id });

  await withGuest(zone, 'drive', async ({ id, hostid }) => {
    const inDrive = (host: string) => zone.cloud.hosts.get(host)?.isoOf(id as never)?.imageId ?? null;
    await refused(zone.call('detachIso', { virtualmachineid: id }), 431, /has no ISO attached/);
    const { virtualmachine } = await zone.run('attachIso', { id: isoId, virtualmachineid: id });
    assert.deepEqual([virtualmachine.isoid, virtualmachine.isoname, inDrive(hostid)], [isoId, 'rescue', isoId]);
    assert.deepEqual(
      (await zone.list('listVirtualMachines', { isoid: isoId })).map((vm) => vm.id),
      [id],
    );
    assert.equal((await zone.run('detachIso', { virtualmachineid: id })).virtualmachine.isoid, undefined);
    assert.equal(inDrive(hostid), null);

    failure = (_host, message) => (message === 'machine.changeIso' ? new CloudError('ResourceUnavailable', 'the drive is stuck') : null);
    await zone.run('attachIso', { id: isoId, virtualmachineid: id }).then(
      () => assert.fail('it was not refused'),
      () => null,
    );
    failure = () => null;
    await eventually('nothing came of it', async () => (await zone.vm(id)).isoid === undefined && inDrive(hostid) === null);

    await zone.run('stopVirtualMachine', { id });
    await zone.run('attachIso', { id: isoId, virtualmachineid: id });
    const started = (await zone.run('startVirtualMachine', { id })).virtualmachine;
    assert.equal(inDrive(started.hostid), isoId, 'a guest that did not run finds it at its next start');
    await zone.run('detachIso', { virtualmachineid: id });
  });
  await zone.run('deleteIso', { id: isoId });
  await eventually('its copies go', async () => {
    await zone.cloud.management.reconciliation.runOnce('storage.imageCopies');
    return (await zone.cloud.db.rows('SELECT 1 FROM image_copy WHERE template_id IN (?)', [[isoId, disc[0].id]])).length === 0;
  });
}

async function remains(zone: Zone) {
  const kept = async () => (await Promise.all([...zone.cloud.hosts.values()].map(({ machines }) => machines.remains()))).flat();
  let id = '';
  await withGuest(zone, 'spoken', async (vm) => {
    id = vm.id;
    await zone.run('stopVirtualMachine', { id });
    assert.ok((await kept()).includes(id as never), 'a stopped guest may still be looked into');
  });
  await eventually('nothing is kept of it', async () => !(await kept()).includes(id as never), { timeoutSeconds: 10 });
}
