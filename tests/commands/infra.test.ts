/** Zones, pods, clusters, hosts and physical networks through HTTP, with simulated hosts over real links. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import ssh2 from 'ssh2';
import { simulatedHost } from '../../agent/hypervisors/simulated/index.ts';
import { ApiError, type Client, eventually, type Params, type Reply } from '../../lab/client.ts';
import { type HostJoin, type RemoteShell, setHostInstaller } from '../../management/infra/index.ts';
import { PASSWORD, withServer } from '../../management/infra/ssh.testing.ts';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { type AgentLink, openAgentLink } from '../../protocol/link/agent-link.ts';
import { memoryIdentityStore } from '../../protocol/link/identity.ts';
import { createLog } from '../../protocol/log.ts';
import { type Cloud, startCloud } from '../cloud/cloud.ts';

let cloud: Cloud;
let admin: Client;
before(async () => {
  cloud = await startCloud();
  admin = cloud.admin;
});
after(() => cloud.close());

const refused = async (command: string, params: Params, status: number, text: RegExp): Promise<void> => {
  await assert.rejects(admin.call(command, params), (error: unknown) => {
    assert.ok(error instanceof ApiError, String(error));
    assert.match(error.body.errortext, text);
    assert.equal(error.status, status);
    return true;
  });
};
const names = { dns1: '8.8.8.8', internaldns1: '8.8.4.4', networktype: 'Advanced' };
const newZone = async (name: string, more: Params = {}): Promise<Reply> =>
  (await admin.call('createZone', { ...names, name, ...more })).zone;
const podOf = (number: number) => ({
  gateway: `10.20.${number}.1`,
  netmask: '255.255.255.0',
  startip: `10.20.${number}.100`,
  endip: `10.20.${number}.149`,
});

describe('zones', () => {
  test('MI-01: a zone is Enabled only when all its parts are there, and says which are missing', async () => {
    const zone = await newZone('parts');
    assert.equal(zone.allocationstate, 'Disabled');
    assert.equal(zone.guestcidraddress, '10.1.1.0/24');
    assert.match(zone.resourcedetails.missing, /an enabled pod .*an enabled cluster .*an enabled physical network/);
    const enable = { id: zone.id, allocationstate: 'Enabled' };
    await refused('updateZone', enable, 431, /cannot be enabled yet; it lacks an enabled pod \(createPod\)/);

    const { pod } = await admin.call('createPod', { zoneid: zone.id, name: 'p', ...podOf(1) });
    const { jobid, id: physicalnetworkid } = await admin.call('createPhysicalNetwork', { zoneid: zone.id, name: 'n', vlan: '500-599' });
    const made = await admin.job('createPhysicalNetwork', jobid);
    assert.equal(made.physicalnetwork.id, physicalnetworkid);
    assert.equal(made.physicalnetwork.isolationmethods, 'VXLAN');
    await admin.run('updatePhysicalNetwork', { id: physicalnetworkid, state: 'Enabled' });
    for (const traffictype of ['Guest', 'Management']) await admin.run('addTrafficType', { physicalnetworkid, traffictype });
    await admin.call('addCluster', {
      zoneid: zone.id,
      podid: pod.id,
      clustername: 'c',
      clustertype: 'CloudManaged',
      hypervisor: 'Simulator',
    });
    await refused('updateZone', enable, 431, /it lacks the traffic type Public on an enabled physical network \(addTrafficType\)$/);
    await admin.run('addTrafficType', { physicalnetworkid, traffictype: 'Public' });
    assert.equal((await admin.call('updateZone', enable)).zone.allocationstate, 'Enabled');
    const [shown] = await admin.list('listZones', { id: zone.id });
    assert.equal(shown.resourcedetails.missing, undefined);
  });

  test('MI-01: a zone that was wished Enabled becomes so by itself with its last part', async () => {
    const zone = await newZone('wished', { allocationstate: 'Enabled' });
    assert.equal(zone.allocationstate, 'Disabled');
    const { pod } = await admin.call('createPod', { zoneid: zone.id, name: 'p', ...podOf(1) });
    const { id: physicalnetworkid } = (await admin.run('createPhysicalNetwork', { zoneid: zone.id, name: 'n' })).physicalnetwork;
    for (const traffictype of ['Guest', 'Management', 'Public']) await admin.run('addTrafficType', { physicalnetworkid, traffictype });
    await admin.run('updatePhysicalNetwork', { id: physicalnetworkid, state: 'Enabled' });
    assert.equal((await admin.list('listZones', { id: zone.id }))[0].allocationstate, 'Disabled');
    await admin.call('addCluster', {
      zoneid: zone.id,
      podid: pod.id,
      clustername: 'c',
      clustertype: 'CloudManaged',
      hypervisor: 'Simulator',
    });
    await eventually('the zone is Enabled', async () => (await admin.list('listZones', { id: zone.id }))[0].allocationstate === 'Enabled');
  });

  test('bad zones are refused, and a zone with something in it stays', async () => {
    const zone = await newZone('kept', { guestcidraddress: '10.5.0.0/16' });
    await refused('createZone', { ...names, name: 'kept' }, 431, /A zone with the name kept exists already/);
    await refused('createZone', { ...names, name: 'x', networktype: 'Basic' }, 431, /must be one of Advanced/);
    await refused('createZone', { ...names, name: 'x', dns1: '8.8.8' }, 431, /8\.8\.8 is not an IPv4 address/);
    await refused('createZone', { ...names, name: 'x', guestcidraddress: '10.1.1.7/24' }, 431, /give the network/);
    await refused('createZone', { name: 'x', networktype: 'Advanced', dns1: '8.8.8.8' }, 431, /missing parameter internaldns1/);
    await admin.call('createPod', { zoneid: zone.id, name: 'p', ...podOf(1) });
    await refused('updateZone', { id: zone.id, guestcidraddress: '10.20.0.0/16' }, 431, /overlaps 10\.20\.1\.0\/24/);
    await refused('deleteZone', { id: zone.id }, 536, /the zone kept cannot be removed because it still has 1 pod; remove/);
    const [pod] = await admin.list('listPods', { zoneid: zone.id });
    assert.equal((await admin.call('deletePod', { id: pod.id })).success, true);
    assert.equal((await admin.call('deleteZone', { id: zone.id })).success, true);
    assert.deepEqual(await admin.call('listZones', { id: zone.id }), {});
    await refused(
      'updateZone',
      { id: zone.id, name: 'y' },
      431,
      /Invalid parameter id value=.* due to incorrect long value format, or entity does not exist/,
    );
  });
});

describe('pods and their ranges', () => {
  let zoneid: string;
  before(async () => {
    zoneid = (await newZone('ranges')).id;
  });

  test('a pod has its addresses; what overlaps or makes no sense is refused', async () => {
    const { pod } = await admin.call('createPod', { zoneid, name: 'one', ...podOf(1) });
    assert.deepEqual([pod.startip, pod.endip, pod.allocationstate], [['10.20.1.100'], ['10.20.1.149'], 'Enabled']);
    const [shown] = await admin.list('listPods', { id: pod.id, showcapacities: true });
    const addresses = shown.capacity.find(({ type }: Reply) => type === 5);
    assert.deepEqual([addresses.capacitytotal, addresses.capacityused, addresses.percentused], [50, 0, '0']);
    const second = { zoneid, name: 'two', ...podOf(2) };
    await refused('createPod', { ...second, name: 'one' }, 431, /A pod with the name one exists already/);
    await refused('createPod', { zoneid, name: 'two', ...podOf(1) }, 431, /overlaps 10\.20\.1\.0\/24 of the pod one/);
    await refused('createPod', { ...second, startip: '10.20.2.150' }, 431, /before it starts/);
    await refused('createPod', { ...second, gateway: '10.20.2.120' }, 431, /gateway 10\.20\.2\.120 lies in the range/);
    await refused(
      'createPod',
      { ...second, gateway: '10.1.1.1', startip: '10.1.1.5', endip: '10.1.1.9' },
      431,
      /from which guest networks are made/,
    );
    await refused('createPod', { zoneid, name: 'two' }, 431, /needs a gateway, a netmask and a startip/);
  });

  test('ranges of a pod come and go, and grow', async () => {
    const [pod] = await admin.list('listPods', { zoneid, name: 'one' });
    const more = { podid: pod.id, gateway: '10.20.1.1', netmask: '255.255.255.0', startip: '10.20.1.140', endip: '10.20.1.160' };
    await refused('createManagementNetworkIpRange', more, 431, /overlaps 10\.20\.1\.100 to 10\.20\.1\.149 of a pod/);
    await refused(
      'createManagementNetworkIpRange',
      { ...more, startip: '10.20.1.150', netmask: '255.255.254.0' },
      431,
      /have its gateway .* netmask/,
    );
    const { pod: grown } = await admin.run('createManagementNetworkIpRange', { ...more, startip: '10.20.1.150' });
    assert.deepEqual(grown.endip, ['10.20.1.149', '10.20.1.160']);
    const { db } = cloud.management.services;
    const current = { podid: pod.id, currentstartip: '10.20.1.150', currentendip: '10.20.1.160' };
    const addresses = async () =>
      (
        await db.rows<{ address: string }>("SELECT address FROM private_address WHERE scope_id = ? AND address LIKE '10.20.1.1_%'", [
          pod.id,
        ])
      )
        .map(({ address }) => Number(address.split('.')[3]))
        .filter((last) => last >= 150)
        .sort((a, b) => a - b);
    const change = 'updatePodManagementNetworkIpRange';
    await refused(change, current, 431, /give newstartip, newendip or both/);
    await refused(change, { ...current, currentendip: '10.20.1.161', newendip: '10.20.1.170' }, 431, /has no range from/);
    await refused(change, { ...current, newstartip: '10.20.1.149' }, 431, /overlaps 10\.20\.1\.100 to 10\.20\.1\.149 of a pod/);
    await db.rows("UPDATE private_address SET nic_id = UUID() WHERE scope_id = ? AND address = '10.20.1.158'", [pod.id]);
    await refused(change, { ...current, newendip: '10.20.1.157' }, 536, /in use, such as 10\.20\.1\.158/);
    assert.deepEqual(await addresses(), [150, 151, 152, 153, 154, 155, 156, 157, 158, 159, 160], 'nothing is half done');
    await admin.run(change, { ...current, newstartip: '10.20.1.156', newendip: '10.20.1.163' });
    assert.deepEqual(await addresses(), [156, 157, 158, 159, 160, 161, 162, 163]);
    const [held] = await db.rows<{ n: string }>('SELECT COUNT(*) AS n FROM private_address WHERE scope_id = ? AND nic_id IS NOT NULL', [
      pod.id,
    ]);
    assert.equal(Number(held?.n), 1, 'the address in use is still the same');
    await db.rows('UPDATE private_address SET nic_id = NULL WHERE scope_id = ?', [pod.id]);
    await admin.run('deleteManagementNetworkIpRange', { podid: pod.id, startip: '10.20.1.156', endip: '10.20.1.163', vlan: 'untagged' });
    const last = { podid: pod.id, startip: '10.20.1.100', endip: '10.20.1.149', vlan: 'untagged' };
    await refused('deleteManagementNetworkIpRange', last, 431, /the last range/);
    const { pod: moved } = await admin.call('updatePod', { id: pod.id, name: 'uno', endip: '10.20.1.200', allocationstate: 'Disabled' });
    assert.deepEqual([moved.name, moved.endip, moved.allocationstate], ['uno', ['10.20.1.200'], 'Disabled']);
  });

  test('storage addresses need a network that carries storage traffic', async () => {
    const [pod] = await admin.list('listPods', { zoneid });
    const range = { podid: pod.id, gateway: '10.30.0.1', netmask: '255.255.255.0', startip: '10.30.0.10', endip: '10.30.0.19' };
    await refused('createStorageNetworkIpRange', range, 431, /no physical network .* carries Storage traffic/);
    const { id: physicalnetworkid } = (await admin.run('createPhysicalNetwork', { zoneid, name: 'n' })).physicalnetwork;
    const { traffictype } = await admin.run('addTrafficType', { physicalnetworkid, traffictype: 'Storage', kvmnetworklabel: 'cloudbr2' });
    assert.equal(traffictype.kvmnetworklabel, 'cloudbr2');
    const { storagenetworkiprange: made } = await admin.run('createStorageNetworkIpRange', range);
    await refused('createStorageNetworkIpRange', { ...range, startip: '10.30.0.19', endip: '10.30.0.30' }, 431, /of the storage network/);
    await refused('deleteTrafficType', { id: traffictype.id }, 536, /it still has 1 range of storage addresses/);
    await refused('deletePhysicalNetwork', { id: physicalnetworkid }, 536, /it still has 1 IP range/);
    assert.equal((await admin.list('listStorageNetworkIpRange', { zoneid }))[0].id, made.id);
    const { storagenetworkiprange: changed } = await admin.run('updateStorageNetworkIpRange', { id: made.id, endip: '10.30.0.25' });
    assert.deepEqual([changed.startip, changed.endip, changed.netmask], ['10.30.0.10', '10.30.0.25', '255.255.255.0']);
    const { db } = cloud.management.services;
    await db.rows("UPDATE private_address SET nic_id = UUID() WHERE scope_id = ? AND address = '10.30.0.25'", [made.id]);
    await refused('updateStorageNetworkIpRange', { id: made.id, endip: '10.30.0.20' }, 536, /in use, such as 10\.30\.0\.25/);
    await refused('updateStorageNetworkIpRange', { id: made.id, netmask: '255.255.0.0' }, 536, /in use, such as 10\.30\.0\.25/);
    await db.rows('UPDATE private_address SET nic_id = NULL WHERE scope_id = ?', [made.id]);
    const { storagenetworkiprange: wider } = await admin.run('updateStorageNetworkIpRange', { id: made.id, netmask: '255.255.0.0' });
    assert.equal(wider.netmask, '255.255.0.0');
    await refused('updateVlanIpRange', { id: made.id, endip: '10.30.0.30' }, 431, /no range of public addresses/);
    await admin.run('deleteStorageNetworkIpRange', { id: made.id });
    await admin.run('deletePhysicalNetwork', { id: physicalnetworkid });
    assert.deepEqual(await admin.call('listPhysicalNetworks', { zoneid }), {});
  });

  test('public addresses lie apart from all other addresses of the zone, on a network that carries them', async () => {
    const [pod] = await admin.list('listPods', { zoneid });
    const { id: physicalnetworkid } = (await admin.run('createPhysicalNetwork', { zoneid, name: 'public' })).physicalnetwork;
    const range = { zoneid, gateway: '203.0.113.1', netmask: '255.255.255.0', startip: '203.0.113.10', endip: '203.0.113.19' };
    await refused('createVlanIpRange', range, 431, /no physical network of the zone carries public traffic/);
    await refused('createVlanIpRange', { ...range, physicalnetworkid }, 431, /network public does not carry public traffic/);
    const { traffictype } = await admin.run('addTrafficType', { physicalnetworkid, traffictype: 'Public' });
    const other = await newZone('elsewhere');
    await refused('createVlanIpRange', { ...range, zoneid: other.id, physicalnetworkid }, 431, /network public is not in the zone/);
    await admin.call('deleteZone', { id: other.id });
    const wrong: readonly (readonly [Params, RegExp])[] = [
      [{ gateway: '203.0.114.1' }, /first address 203\.0\.113\.10 is not an address of a machine in the network 203\.0\.114\.0\/24/],
      [{ gateway: '203.0.113.15' }, /gateway 203\.0\.113\.15 lies in the range/],
      [{ netmask: '255.0.255.0' }, /netmask/],
      [{ endip: '203.0.113.255' }, /last address 203\.0\.113\.255 is not an address of a machine/],
      [{ gateway: '10.20.1.1', startip: pod.endip[0], endip: '10.20.1.210' }, /overlaps .* of a pod in this zone/],
      [{ gateway: '10.20.1.250', startip: '10.20.1.1', endip: '10.20.1.9' }, /holds 10\.20\.1\.1, the gateway of a pod/],
      [{ gateway: pod.startip[0], startip: '10.20.1.230', endip: '10.20.1.239' }, /gateway .* lies in the range .* of a pod/],
      [{ gateway: '10.1.1.1', startip: '10.1.1.10', endip: '10.1.1.19' }, /from which guest networks are made/],
    ];
    for (const [change, message] of wrong) await refused('createVlanIpRange', { ...range, ...change }, 431, message);
    const { vlan } = await admin.call('createVlanIpRange', range);
    await refused('createVlanIpRange', { ...range, startip: '203.0.113.19', endip: '203.0.113.29' }, 431, /of the public addresses/);
    await refused('deleteTrafficType', { id: traffictype.id }, 536, /range of public addresses/);
    const { db } = cloud.management.services;
    const addresses = async () =>
      (await db.rows<{ address: string }>('SELECT address FROM public_ip WHERE ip_range_id = ? ORDER BY address_number', [vlan.id])).map(
        ({ address }) => Number(address.split('.')[3]),
      );
    await db.rows("UPDATE public_ip SET state = 'Allocated', network_id = UUID() WHERE ip_range_id = ? AND address = '203.0.113.12'", [
      vlan.id,
    ]);
    const { id } = vlan;
    await refused(
      'updateVlanIpRange',
      { id, startip: '203.0.113.13' },
      536,
      /addresses that the range would lose are in use: 203\.0\.113\.12/,
    );
    await refused('updateVlanIpRange', { id, gateway: '203.0.113.2' }, 536, /gateway and netmask cannot change while/);
    await refused('updateVlanIpRange', { id, forsystemvms: true }, 536, /networks of tenants use addresses of the range/);
    await refused('updateVlanIpRange', { id, endip: '203.0.113.255' }, 431, /is not an address of a machine/);
    await refused('updateStorageNetworkIpRange', { id, endip: '203.0.113.30' }, 431, /change it with updateVlanIpRange/);
    const { vlan: changed } = await admin.call('updateVlanIpRange', { id, startip: '203.0.113.12', endip: '203.0.113.21' });
    assert.deepEqual([changed.id, changed.startip, changed.endip], [id, '203.0.113.12', '203.0.113.21']);
    assert.deepEqual(await addresses(), [12, 13, 14, 15, 16, 17, 18, 19, 20, 21]);
    await db.rows("UPDATE public_ip SET state = 'Free', network_id = NULL WHERE ip_range_id = ?", [id]);
    const { vlan: apart } = await admin.call('updateVlanIpRange', { id, gateway: '203.0.113.2', forsystemvms: true });
    assert.deepEqual([apart.gateway, apart.forsystemvms], ['203.0.113.2', true]);
    await admin.call('deleteVlanIpRange', { id: vlan.id });
    await admin.run('deletePhysicalNetwork', { id: physicalnetworkid });
  });

  test('physical networks: numbers do not overlap in a zone, the router is there and can be enabled', async () => {
    const { physicalnetwork } = await admin.run('createPhysicalNetwork', { zoneid, name: 'a', vlan: '100-199', tags: 'red,blue' });
    assert.deepEqual([physicalnetwork.vlan, physicalnetwork.tags, physicalnetwork.state], ['100-199', 'red,blue', 'Disabled']);
    await refused('createPhysicalNetwork', { zoneid, name: 'b', vlan: '199-300' }, 431, /overlap 100-199 of the physical network a/);
    await refused('createPhysicalNetwork', { zoneid, name: 'a' }, 431, /exists already/);
    await refused('createPhysicalNetwork', { zoneid, name: 'b', isolationmethods: 'GRE' }, 431, /VXLAN, VLAN/);
    const physicalnetworkid = physicalnetwork.id;
    await admin.run('addTrafficType', { physicalnetworkid, traffictype: 'Public', kvmnetworklabel: 'br-out' });
    await refused('addTrafficType', { physicalnetworkid, traffictype: 'Public' }, 431, /carries Public traffic already/);
    await refused(
      'addTrafficType',
      { physicalnetworkid, traffictype: 'Guest', kvmnetworklabel: 'a b' },
      431,
      /invalid value a b for parameter kvmnetworklabel/,
    );
    const [provider] = await admin.list('listNetworkServiceProviders', { physicalnetworkid, name: 'VirtualRouter' });
    assert.equal(provider.state, 'Disabled');
    const [element] = await admin.list('listVirtualRouterElements', { nspid: provider.id });
    assert.equal(element.enabled, false);
    const configured = await admin.run('configureVirtualRouterElement', { id: element.id, enabled: true });
    assert.equal(configured.virtualrouterelement.enabled, true);
    const enabled = await admin.run('updateNetworkServiceProvider', { id: provider.id, state: 'Enabled' });
    assert.equal(enabled.networkserviceprovider.state, 'Enabled');
    await refused('addNetworkServiceProvider', { physicalnetworkid, name: 'VirtualRouter' }, 431, /has the provider VirtualRouter already/);
  });
});

describe('hosts', () => {
  let place: { zoneid: string; podid: string; clusterid: string };
  const sim = (url: string) => ({ ...place, hypervisor: 'Simulator', url, username: 'root', password: 'password' });
  const host = async (id: string, more: Params = {}): Promise<Reply> => (await admin.list('listHosts', { id, ...more }))[0];
  before(async () => {
    const zone = await newZone('hosts');
    const { pod } = await admin.call('createPod', { zoneid: zone.id, name: 'p', ...podOf(1) });
    const { cluster } = await admin.call('addCluster', {
      zoneid: zone.id,
      podid: pod.id,
      clustername: 'C0',
      clustertype: 'CloudManaged',
      hypervisor: 'simulator',
    });
    assert.equal(cluster[0].hypervisortype, 'Simulator');
    place = { zoneid: zone.id, podid: pod.id, clusterid: cluster[0].id };
  });

  test('a simulated host is added, joins over its link, and is Up', async () => {
    const { host: added, count } = await admin.call('addHost', { ...sim('http://sim/c0/h0'), hosttags: 'ssd,gpu' });
    assert.equal(count, 1);
    const [shown] = added;
    assert.deepEqual(
      [shown.state, shown.resourcestate, shown.type, shown.hypervisor, shown.name, shown.hosttags, shown.capabilities, shown.cpunumber],
      ['Up', 'Enabled', 'Routing', 'Simulator', 'c0-h0', 'ssd,gpu', 'hvm', 16],
    );
    assert.equal(shown.memorytotal, 65_536 * 1024 ** 2);
    assert.deepEqual([shown.cpuallocated, shown.memoryallocatedpercentage, shown.hasenoughcapacity], ['0%', '0%', true]);
    assert.equal(shown.details.accelerator, 'simulated');
    const minimal = await host(shown.id, { details: 'min' });
    assert.deepEqual([minimal.state, minimal.cpuallocated, minimal.events, minimal.details], ['Up', undefined, undefined, undefined]);
    assert.equal((await admin.list('listHosts', { zoneid: place.zoneid, state: 'Up', resourcestate: 'Enabled' })).length, 1);
    assert.deepEqual(await admin.call('listHosts', { zoneid: place.zoneid, type: 'ConsoleProxy' }), {});
    await refused('addHost', sim('http://sim/c0/h0'), 431, /is the host c0-h0 already/);
    const [zone] = await admin.list('listZones', { id: place.zoneid, showcapacities: true });
    assert.equal(zone.capacity.find(({ type }: Reply) => type === 0).capacitytotal, 65_536 * 1024 ** 2);
  });

  test('what does not fit together is refused before anything is done', async () => {
    await refused('addHost', { ...sim('http://sim/c0/h9'), hypervisor: 'KVM' }, 431, /the hosts of the cluster C0 run Simulator, not KVM/);
    await refused('addHost', sim('http://10.0.0.1'), 431, /url of the form http:\/\/sim\//);
    await refused('addHost', { ...sim('http://sim/c0/h9'), hosttags: 'a b' }, 431, /host tag a b must be/);
    await refused('addHost', { ...sim('http://sim/c0/h9'), clusterid: undefined }, 431, /clusterid is needed/);
    await refused('listHosts', { details: 'most' }, 431, /details can be all, capacity/);
  });

  test('a link that ends is told and alerted, and a cut one comes back', async () => {
    const [{ id }] = await admin.list('listHosts', { zoneid: place.zoneid });
    const again = await admin.run('reconnectHost', { id });
    assert.equal(again.host.state, 'Up');
    const alertOf = async (words: string): Promise<Reply> =>
      (await admin.list('listAlerts', { listall: true })).find(({ description }) => description.startsWith(words));
    const openAlerts = async () =>
      cloud.management.services.db.rows('SELECT id FROM alert WHERE resource_id = ? AND resolved_at IS NULL', [id]);
    await cloud.cutHost(id, 'cut');
    await eventually('the lost host is in Alert, not Down', async () => (await host(id)).state === 'Alert');
    assert.ok((await host(id)).disconnected);
    await eventually('the operator is told', () => alertOf('The link to the host c0-h0 is lost'));
    cloud.mendHost(id);
    await eventually('the host is back', async () => (await host(id)).state === 'Up');
    await eventually('the alert has passed', async () => (await openAlerts()).length === 0);
    assert.equal((await host(id)).disconnected, undefined);

    await cloud.cutHost(id, 'goodbye');
    await eventually('the stopped host is Disconnected', async () => (await host(id)).state === 'Disconnected');
    await eventually('its history tells', async () => {
      const events: Reply[] = await admin.list('listEvents', { type: 'ALERT.COMPUTE.HOST', listall: true });
      return events.some(({ description }) => description === 'The agent of the host c0-h0 was stopped');
    });
    await admin.call('deleteHost', { id, forced: true });
    const { host: fresh } = await admin.call('addHost', sim('http://sim/c0/h0'));
    assert.notEqual(fresh[0].id, id);
    assert.deepEqual(await admin.call('listHosts', { id }), {});
  });

  test('a host is disabled and enabled, goes into maintenance and comes back, and is removed', async () => {
    const [{ id }] = await admin.list('listHosts', { zoneid: place.zoneid });
    const disabled = await admin.call('updateHost', { id, allocationstate: 'Disable', hosttags: 'one', name: 'renamed' });
    assert.deepEqual([disabled.host.resourcestate, disabled.host.hosttags, disabled.host.name], ['Disabled', 'one', 'renamed']);
    assert.equal((await admin.call('updateHost', { id, allocationstate: 'Enable' })).host.resourcestate, 'Enabled');
    await refused('deleteHost', { id }, 431, /is not in maintenance; use prepareHostForMaintenance/);
    await refused('cancelHostMaintenance', { id }, 431, /a host that is Enabled cannot cancel/);
    assert.equal((await admin.run('prepareHostForMaintenance', { id })).host.resourcestate, 'Maintenance');
    await refused('prepareHostForMaintenance', { id }, 431, /is Maintenance, so it cannot be prepared/);
    await refused('updateHost', { id, allocationstate: 'Disable' }, 431, /is Maintenance; only an Enabled or Disabled one/);
    assert.equal((await admin.run('cancelHostMaintenance', { id })).host.resourcestate, 'Enabled');
    await refused('deleteCluster', { id: place.clusterid }, 536, /it still has 1 host; remove/);
    await admin.run('prepareHostForMaintenance', { id });
    assert.equal((await admin.call('deleteHost', { id })).success, true);
    assert.deepEqual(await admin.call('listHosts', { zoneid: place.zoneid }), {});
    assert.equal(cloud.hosts.has(id), false);
  });

  test('OV-09: a cloud begins with one host, gets two more, and goes on when one is removed', async () => {
    const one = (await admin.call('addHost', sim('http://sim/c0/h5'))).host[0];
    const more = await Promise.all(['http://sim/c0/h6', 'http://sim/c0/h7'].map((url) => admin.call('addHost', sim(url))));
    const up = async (): Promise<string[]> =>
      (await admin.list('listHosts', { zoneid: place.zoneid, state: 'Up' })).map(({ id }) => id).sort();
    const all = [one.id, ...more.map(({ host: [added] }) => added.id)];
    assert.deepEqual(await up(), [...all].sort());
    const [zone] = await admin.list('listZones', { id: place.zoneid, showcapacities: true });
    assert.equal(zone.capacity.find(({ type }: Reply) => type === 0).capacitytotal, 3 * 65_536 * 1024 ** 2);
    await admin.call('deleteHost', { id: one.id, forced: true });
    assert.deepEqual(await up(), all.slice(1).sort());
    await refused('addHost', { ...sim('http://sim/c0/h6') }, 431, /is the host c0-h6 already/);
    for (const id of all.slice(1)) await admin.call('deleteHost', { id, forced: true });
  });

  test('a host with a running machine is neither emptied nor removed', async () => {
    const { host: added } = await admin.call('addHost', sim('http://sim/c0/h1'));
    const { id } = added[0];
    const { db } = cloud.management.services;
    const machineId = newId('machine');
    await db.rows(
      `INSERT INTO machine (id, kind, instance_name, account_id, domain_id, zone_id, hypervisor, state, generation, power, host_id, cpu_count, cpu_mhz,
         memory_mib, service_offering_id, ha_enabled, created_at)
       VALUES (?, 'guest', 'i-2-999-VM', UUID(), UUID(), ?, 'Simulator', 'Starting', 0, 'Unknown', ?, 1, 500, 512, UUID(), FALSE, NOW())`,
      [machineId, place.zoneid, id],
    );
    // The host really has it: a host that tells its machines at this moment must not make the row untrue.
    await cloud.hosts.get(id)?.machines.start({
      id: machineId,
      name: 'i-2-999-VM',
      kind: 'guest',
      cpuCount: 1,
      cpuMhz: 500,
      memoryMib: 512,
      boot: { kind: 'disk' },
      disks: [],
      iso: null,
      nics: [],
      vncPassword: 'eightchr',
      keyboard: 'en-us',
    });
    await db.rows("UPDATE machine SET state = 'Running', power = 'On' WHERE id = ?", [machineId]);
    await assert.rejects(
      admin.run('prepareHostForMaintenance', { id }),
      /1 virtual machine\(s\) run on the host c0-h1 .*: i-2-999-VM; stop them/,
    );
    assert.equal((await host(id)).resourcestate, 'ErrorInPrepareForMaintenance');
    await refused('deleteHost', { id, forced: true }, 536, /it still has 1 virtual machine on it/);
    await db.rows('DELETE FROM machine WHERE id = ?', [machineId]);
    assert.equal((await admin.run('prepareHostForMaintenance', { id })).host.resourcestate, 'Maintenance');
    await admin.call('deleteHost', { id });
  });
});

describe('hosts over ssh', () => {
  let place: { zoneid: string; podid: string; clusterid: string };
  const links = new Map<string, AgentLink>();
  let failing: Error | null = null;
  let seen: string[] = [];

  /** Where a real installation copies the agent and starts it there, this one starts it here; everything before and after is real. */
  const install = async (shell: RemoteShell, { hostId, joinToken, caSha256, servers }: HostJoin): Promise<void> => {
    seen.push((await shell.exec(['echo', 'installing', hostId])).stdout.trim());
    if (failing) throw failing;
    const simulated = simulatedHost({ id: hostId, cpuCount: 4, memoryMib: 8192, hostName: 'kvm1', bridges: ['cloudbr0'] });
    const link = openAgentLink({
      kind: 'host',
      id: hostId,
      servers,
      join: { token: joinToken.reveal(), caSha256 },
      store: memoryIdentityStore(),
      version: 'here',
      handlers: simulated.handlers,
      beat: () => simulated.beat(),
      log: createLog('host', { level: 'silent' }),
    });
    links.set(hostId, link);
  };
  before(async () => {
    const zone = await newZone('ssh');
    const { pod } = await admin.call('createPod', { zoneid: zone.id, name: 'p', ...podOf(1) });
    const { cluster } = await admin.call('addCluster', {
      zoneid: zone.id,
      podid: pod.id,
      clustername: 'K',
      clustertype: 'CloudManaged',
      hypervisor: 'KVM',
    });
    place = { zoneid: zone.id, podid: pod.id, clusterid: cluster[0].id };
    setHostInstaller({
      prepare: async (shell) => void seen.push((await shell.exec(['echo', 'preparing'])).stdout.trim()),
      install,
      uninstall: async (shell) => void seen.push((await shell.exec(['echo', 'uninstalling'])).stdout.trim()),
    });
  });
  after(async () => {
    for (const link of links.values()) await link.close();
    setHostInstaller(null);
  });
  const leftovers = async (): Promise<unknown[]> =>
    cloud.management.services.db.rows(
      `SELECT h.id FROM host h JOIN agent a ON a.id = h.id WHERE h.cluster_id = ? AND (h.removed_at IS NULL OR a.state <> 'Removed')`,
      [place.clusterid],
    );

  test('SV-19: addHost goes in over ssh, and the host is Up when its agent has dialled back', async () => {
    const other = ssh2.utils.generateKeyPairSync('ed25519').private;
    let port = 0;
    let id = '';
    await withServer(async (target) => {
      port = target.port;
      const request = { ...place, hypervisor: 'KVM', url: `http://127.0.0.1:${port}`, username: 'root' };
      await refused('addHost', { ...request, password: 'wrong' }, 431, /root@127\.0\.0\.1 port \d+ cannot log in with this password/);
      await refused('addHost', request, 431, /cannot log in with the cloud's ssh key/);
      assert.deepEqual([seen, await leftovers()], [[], []]);
      const { host } = await admin.call('addHost', { ...request, password: PASSWORD });
      id = host[0].id;
      assert.deepEqual([host[0].state, host[0].resourcestate, host[0].name, host[0].ipaddress], ['Up', 'Enabled', 'kvm1', '127.0.0.1']);
      assert.deepEqual(seen, ['preparing', `installing ${id}`]);
      await refused('addHost', { ...request, password: PASSWORD }, 431, /127\.0\.0\.1 is the host kvm1 already/);
      const [row] = await cloud.management.services.db.rows<{ ssh_host_key: string }>('SELECT ssh_host_key FROM host WHERE id = ?', [id]);
      assert.match(row?.ssh_host_key ?? '', /^SHA256:[A-Za-z0-9+/]{43}$/);
      const dump = JSON.stringify(await cloud.management.services.db.rows('SELECT * FROM event'));
      assert.equal(dump.includes(PASSWORD.slice(0, 4)), false);
      await links.get(id)?.close();
      await admin.call('deleteHost', { id, forced: true });
    });
    await withServer(
      async () => {
        const request = { ...place, hypervisor: 'KVM', url: `http://127.0.0.1:${port}`, username: 'root', password: PASSWORD };
        await refused(
          'addHost',
          request,
          431,
          /the ssh host key of 127\.0\.0\.1 is SHA256:.*, and was SHA256:.* when this address was a host before/,
        );
        await admin.call('updateConfiguration', { name: 'host.ssh.key.check', value: 'false' });
        const { host } = await admin.call('addHost', request);
        await links.get(host[0].id)?.close();
        await admin.call('deleteHost', { id: host[0].id, forced: true });
      },
      { hostKey: other, port },
    );
    assert.deepEqual(await leftovers(), []);
  });

  test('a host whose agent cannot be installed leaves nothing behind', async () => {
    await withServer(async ({ port }) => {
      const request = { ...place, hypervisor: 'KVM', url: `http://127.0.0.1:${port}`, password: PASSWORD };
      seen = [];
      failing = new CloudError('ResourceUnavailable', 'the host lacks virsh');
      await refused('addHost', request, 534, /the host lacks virsh/);
      failing = null;
      assert.equal(seen.at(-1), 'uninstalling');
      assert.deepEqual(await leftovers(), []);
    });
    await refused(
      'addHost',
      { ...place, hypervisor: 'KVM', url: 'http://127.0.0.1:1', password: 'x' },
      534,
      /no ssh connection to .*: nothing listens there/,
    );
    await refused(
      'addHost',
      { ...place, hypervisor: 'KVM', url: 'http://10.20.1.120', password: 'x' },
      431,
      /lies in the range 10\.20\.1\.100 to 10\.20\.1\.149/,
    );
  });

  test('a host that was being added when the server died is there if its agent came, and otherwise is not', async () => {
    const { services, reconciliation } = cloud.management;
    await withServer(async ({ port }) => {
      const request = { ...place, hypervisor: 'KVM', url: `http://127.0.0.1:${port}`, password: PASSWORD };
      let release = () => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      const installed: HostJoin[] = [];
      // As a server that dies: the installation neither ends nor fails while the reconciler looks.
      setHostInstaller({
        prepare: async () => {},
        install: async (shell, join) => {
          installed.push(join);
          if (installed.length === 2) await install(shell, join);
          await held;
        },
        uninstall: async () => {},
      });
      const creating = async (): Promise<Reply> =>
        (await admin.list('listHosts', { clusterid: place.clusterid, resourcestate: 'Creating' }))[0];
      const first = admin.call('addHost', request).catch((error: unknown) => error);
      const abandoned = await eventually('the host is being added', creating);
      await reconciliation.runOnce('infra.hosts');
      assert.equal((await creating()).id, abandoned.id);
      await services.db.rows('UPDATE host SET created_at = ? WHERE id = ?', [new Date(Date.now() - 16 * 60_000), abandoned.id]);
      await reconciliation.runOnce('infra.hosts');
      assert.deepEqual(await leftovers(), []);

      const second = admin.call('addHost', request).catch((error: unknown) => error);
      const coming = await eventually('the host is being added again', async () => {
        const [found] = await admin.list('listHosts', { clusterid: place.clusterid, state: 'Up' });
        return found;
      });
      await reconciliation.runOnce('infra.hosts');
      await eventually('the host is Enabled', async () => {
        const [found] = await admin.list('listHosts', { id: coming.id });
        return found?.resourcestate === 'Enabled';
      });
      release();
      assert.match(String(await first), /the host was removed while it was being added/);
      assert.equal((await second).host?.[0]?.id, coming.id);
      await links.get(coming.id)?.close();
      await admin.call('deleteHost', { id: coming.id, forced: true });
    });
  });
});
