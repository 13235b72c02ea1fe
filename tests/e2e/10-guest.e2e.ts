/** A tenant's machines on real hosts: what they get from the cloud, seen from inside them and from outside, and what is left when they are gone. */
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { after, before } from 'node:test';
import { eventually, type Reply } from '../../lab/client.ts';
import { HTTP_PORT } from '../../lab/installation.ts';
import { topology } from '../../lab/topology.ts';
import {
  capture,
  domainsOf,
  guestSays,
  hostNames,
  inOrder,
  keyFile,
  type RealCloud,
  realCloud,
  routerOf,
  type Station,
  serialLog,
  station,
  type Tenant,
  tenant,
  traceOf,
  vmOf,
  vniOf,
} from './cloud.ts';

const STATION_ADDRESS = '10.1.1.250';
const MARKER = 'written by user data';
const userData = `#!/bin/sh
echo '${MARKER}' >/root/marker
wget -q -T 10 -O /root/source http://${topology.internet.wwwName}/source
`;

const step = inOrder();
let cloud: RealCloud;
let owner: Tenant;
let network: Reply;
let one: Reply;
let two: Reply;
let router: Reply;
let key: { key: string };
let spot: Station;
let reservedBefore: Reserved;

interface Reserved {
  readonly cpuMhz: number;
  readonly memoryBytes: number;
}

before(async () => {
  cloud = await realCloud();
  owner = await tenant(cloud, 'guest');
});
after(async () => {
  await spot?.remove();
  await owner?.remove();
});

const tell = (guest: Reply, line: string): Promise<string> => spot.guest(guest.nic[0].ipaddress, key, line);
const told = async (guest: Reply, line: string): Promise<string> => (await tell(guest, line)).trim();
const reserved = async (): Promise<Reserved> => {
  const hosts = await cloud.admin.list('listHosts', { type: 'Routing' });
  const sum = (field: string): number => hosts.reduce((total, host) => total + Number(host[field]), 0);
  return { cpuMhz: sum('cpuallocatedvalue'), memoryBytes: sum('memoryallocatedbytes') };
};
/** Seconds the management server has waited for answers of its agents, by message. */
const askedSeconds = async (): Promise<Map<string, number>> => {
  const text = await (await fetch(`http://127.0.0.1:${HTTP_PORT}/metrics`)).text();
  const sums = new Map<string, number>();
  for (const [, message = '', seconds] of text.matchAll(/^nephos_ask_seconds_sum\{message="([^"]+)"[^}]*\} (\S+)$/gm))
    sums.set(message, (sums.get(message) ?? 0) + Number(seconds));
  return sums;
};

step('VR-09 a network has no router until its first guest, and then one', { timeout: 300_000 }, async () => {
  network = await owner.network('e2e-guest');
  assert.equal(network.state, 'Allocated');
  assert.deepEqual(await cloud.admin.list('listRouters', { networkid: network.id, listall: true }), []);
  const { keypair } = await owner.client.call('createSSHKeyPair', { name: 'e2e' });
  key = { key: await keyFile(keypair.privatekey) };
  reservedBefore = await reserved();
  one = await owner.deploy({
    networkids: network.id,
    name: 'one',
    displayname: 'The first guest',
    keypair: 'e2e',
    userdata: Buffer.from(userData).toString('base64'),
  });
  assert.equal(one.state, 'Running');
  assert.equal(one.displayname, 'The first guest');
  assert.equal((await cloud.admin.list('listNetworks', { id: network.id, listall: true }))[0].state, 'Implemented');
  router = await routerOf(cloud, network.id);
  assert.equal(router.state, 'Running');
  const vni = await vniOf(cloud, network.id);
  spot = await station(one.hostname, vni, STATION_ADDRESS);
  await guestSays(one.hostname, one.id, 'user-data');
});

step('a guest and its router run in libvirt on the hosts that the API names, and take the capacity of their offerings', {}, async () => {
  assert.ok((await domainsOf(one.hostname)).includes(one.instancename));
  assert.ok((await domainsOf(router.hostname)).includes(router.name));
  const now = await reserved();
  const [offering] = await cloud.admin.list('listServiceOfferings', { id: router.serviceofferingid, issystem: true });
  assert.deepEqual(
    { cpuMhz: now.cpuMhz - reservedBefore.cpuMhz, memoryBytes: now.memoryBytes - reservedBefore.memoryBytes },
    {
      cpuMhz: one.cpunumber * one.cpuspeed + offering.cpunumber * offering.cpuspeed,
      memoryBytes: (one.memory + offering.memory) * 1024 ** 2,
    },
  );
});

step('VM-01 CPUs, memory, disk, NIC and name in the guest are those of the API', {}, async () => {
  const [nic] = one.nic;
  const facts = JSON.parse(
    await tell(
      one,
      `printf '{"cpus":%s,"memoryKib":%s,"sectors":%s,"mac":"%s","name":"%s","product":"%s","uuid":"%s"}' "$(nproc)" \
      "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)" "$(cat /sys/block/vda/size)" "$(cat /sys/class/net/eth0/address)" \
      "$(hostname)" "$(cat /sys/class/dmi/id/product_name)" "$(cat /sys/class/dmi/id/product_uuid)"`,
    ),
  );
  const [volume] = await owner.client.list('listVolumes', { virtualmachineid: one.id, type: 'ROOT' });
  assert.equal(facts.cpus, one.cpunumber);
  assert.equal(facts.sectors * 512, volume.size);
  assert.equal(facts.mac, nic.macaddress);
  assert.equal(facts.name, one.name);
  assert.equal(facts.uuid.toLowerCase(), one.id);
  assert.equal(facts.product, 'CloudStack KVM Hypervisor');
  // The kernel keeps some of the memory for itself.
  const memoryMib = facts.memoryKib / 1024;
  assert.ok(memoryMib <= one.memory && memoryMib > one.memory - 64, `${memoryMib} of ${one.memory} MiB`);
});

step('VR-02 address, gateway, name server, domain and MTU come by DHCP as the API has them', {}, async () => {
  const [nic] = one.nic;
  assert.equal(nic.ipaddress, one.ipaddress);
  assert.match(await tell(one, 'ip -4 -o addr show dev eth0'), new RegExp(`inet ${nic.ipaddress}/24 `));
  assert.match(await tell(one, 'ip route'), new RegExp(`^default via ${nic.gateway} dev eth0`, 'm'));
  assert.equal(await told(one, 'cat /sys/class/net/eth0/mtu'), String(network.privatemtu));
  const resolver = await tell(one, 'cat /etc/resolv.conf');
  assert.match(resolver, new RegExp(`^nameserver ${nic.gateway}$`, 'm'));
  assert.match(resolver, new RegExp(`^search ${network.networkdomain}$`, 'm'));
});

step('VR-01 a guest reaches the internet by name, and is seen there with the address for source NAT of its network', {}, async () => {
  const [address] = await owner.client.list('listPublicIpAddresses', { associatednetworkid: network.id, issourcenat: true });
  assert.equal(router.publicip, address.ipaddress);
  assert.equal(await told(one, `wget -q -T 10 -O - http://${topology.internet.wwwName}/source`), address.ipaddress);
  const seen = await capture(topology.internet.name, 'eth0', 'icmp', 30);
  await tell(one, `ping -c 2 -W 5 ${topology.internet.address}`);
  const lines = (await seen.stop()).join('\n');
  assert.match(lines, new RegExp(`${address.ipaddress} > ${topology.internet.address.replaceAll('.', '\\.')}: ICMP echo request`));
  assert.ok(!lines.includes(one.nic[0].ipaddress), 'no packet with an inner address leaves the network');
});

step('user data ran once, with the network up; metadata says what the API says', {}, async () => {
  const [address] = await owner.client.list('listPublicIpAddresses', { associatednetworkid: network.id, issourcenat: true });
  assert.equal(await told(one, 'cat /root/marker'), MARKER);
  assert.equal(await told(one, 'cat /root/source'), address.ipaddress);
  const gateway = one.nic[0].gateway;
  const get = (path: string) => told(one, `wget -q -T 10 -O - http://${gateway}/latest/${path}`);
  assert.equal(await get('user-data'), userData.trim());
  const listing = (await get('meta-data/')).split('\n');
  const wanted = {
    'instance-id': one.id,
    'vm-id': one.id,
    'local-hostname': one.name,
    'local-ipv4': one.nic[0].ipaddress,
    'service-offering': one.serviceofferingname,
    'availability-zone': one.zonename,
  };
  for (const [name, value] of Object.entries(wanted)) {
    assert.ok(listing.includes(name), `${name} is listed in ${listing.join(' ')}`);
    assert.equal(await get(`meta-data/${name}`), value, name);
  }
  assert.match(await get('meta-data/public-keys'), /^ssh-/);
  assert.equal(await told(one, 'wget -q -T 10 -O - http://169.254.169.254/latest/meta-data/instance-id'), one.id, 'the usual address');
});

step('a second guest deploys fast', { timeout: 120_000 }, async (t) => {
  const askedBefore = await askedSeconds();
  const since = performance.now();
  const { jobid, id } = await owner.client.call('deployVirtualMachine', {
    zoneid: cloud.zoneId,
    templateid: cloud.templateId,
    serviceofferingid: owner.serviceOfferingId,
    networkids: network.id,
    name: 'two',
    keypair: 'e2e',
  });
  await owner.client.job('deployVirtualMachine', jobid, { timeoutSeconds: 100, pollMs: 10 });
  const totalSeconds = (performance.now() - since) / 1000;
  const asked = [...(await askedSeconds())].map(([message, seconds]): [string, number] => [
    message,
    seconds - (askedBefore.get(message) ?? 0),
  ]);
  const machineWork = asked.filter(([message]) => /^(machine|volume)\./.test(message));
  const workSeconds = machineWork.reduce((sum, [, seconds]) => sum + seconds, 0);
  for (const [message, seconds] of asked.filter(([, seconds]) => seconds > 0)) t.diagnostic(`${message}: ${seconds.toFixed(3)} s`);
  t.diagnostic(
    `deployed in ${totalSeconds.toFixed(2)} s, of which ${(totalSeconds - workSeconds).toFixed(2)} s outside libvirt and image work`,
  );
  two = await vmOf(cloud, id);
  assert.equal(two.state, 'Running');
  await guestSays(two.hostname, two.id, 'metadata');
});

step('VR-03 guests find each other by short and by full name, also after a new name; the public side is told nothing', {}, async () => {
  const full = `two.${network.networkdomain}`;
  const address = two.nic[0].ipaddress;
  assert.match(await tell(one, 'nslookup one'), new RegExp(`Address: ${one.nic[0].ipaddress}`));
  for (const name of ['two', full]) {
    const line = `ping -c 1 -W 5 ${name}`;
    assert.match(await tell(one, line), new RegExp(`^PING ${name} \\(${address}\\)[^]* 1 packets received`), line);
  }
  assert.match(await tell(one, `nslookup ${topology.internet.wwwName}`), new RegExp(`Address: ${topology.internet.address}`));
  const outside = new Resolver({ timeout: 2000, tries: 1 });
  outside.setServers([router.publicip]);
  await assert.rejects(outside.resolve4(full), (error: NodeJS.ErrnoException) => ['ETIMEOUT', 'ECONNREFUSED'].includes(error.code ?? ''));

  await owner.client.run('stopVirtualMachine', { id: two.id }, { timeoutSeconds: 90 });
  await owner.client.call('updateVirtualMachine', { id: two.id, name: 'second' });
  await owner.client.run('startVirtualMachine', { id: two.id }, { timeoutSeconds: 90 });
  two = await vmOf(cloud, two.id);
  await guestSays(two.hostname, two.id, 'metadata');
  assert.equal(await told(two, 'hostname'), 'second');
  assert.match(await tell(one, 'ping -c 1 -W 5 second'), new RegExp(`^PING second \\(${address}\\)`));
  await assert.rejects(tell(one, 'nslookup two'), 'the old name is gone');
});

step('VR-02 an unknown NIC is offered nothing, and a DHCP server in a guest is heard by nobody', {}, async () => {
  const discover = ['-n', '-q', '-f', '-i', spot.device, '-t', '3', '-T', '2', '-A', '1', '-s', '/bin/true'];
  assert.equal((await spot.run('udhcpc', discover, { acceptedCodes: [1] })).code, 1, 'the router knows it not');
  const seen = await capture(spot.namespace, spot.device, 'udp port 67 or udp port 68', 60);
  await tell(
    one,
    `printf 'start 10.1.1.240\\nend 10.1.1.245\\ninterface eth0\\nlease_file /tmp/leases\\n' >/tmp/udhcpd.conf && : >/tmp/leases && udhcpd -S /tmp/udhcpd.conf && pidof udhcpd`,
  );
  const { code } = await spot.run('udhcpc', discover, { acceptedCodes: [1] });
  const packets = (await seen.stop()).join('\n');
  await tell(one, 'kill $(pidof udhcpd)');
  assert.match(packets, /BOOTP\/DHCP, Request/, 'the discovery was on the wire');
  assert.doesNotMatch(packets, /BOOTP\/DHCP, Reply/);
  assert.equal(code, 1);
});

step('VR-02 a guest stops cleanly, starts with its address, and reboots', { timeout: 180_000 }, async () => {
  const { hostname, id } = one;
  const address = one.nic[0].ipaddress;
  await owner.client.run('stopVirtualMachine', { id }, { timeoutSeconds: 90 });
  assert.match(await serialLog(hostname, id), /NEPHOS-GUEST stopped/, 'it was asked to stop, not cut off');
  assert.equal((await vmOf(cloud, id)).state, 'Stopped');
  assert.ok(!(await domainsOf(hostname)).includes(one.instancename));
  await owner.client.run('startVirtualMachine', { id }, { timeoutSeconds: 90 });
  one = await vmOf(cloud, id);
  assert.equal(one.nic[0].ipaddress, address);
  await guestSays(one.hostname, id, 'metadata');
  assert.match(await tell(one, 'ip -4 -o addr show dev eth0'), new RegExp(`inet ${address}/24 `));
  assert.equal(await told(one, 'cat /root/marker'), MARKER, 'its disk is the one it had');
  const booted = await told(one, 'cat /proc/sys/kernel/random/boot_id');
  await owner.client.run('rebootVirtualMachine', { id }, { timeoutSeconds: 120 });
  await eventually(
    'the guest is back from its reboot',
    async () => {
      const now = await told(one, 'cat /proc/sys/kernel/random/boot_id');
      return now !== booted;
    },
    { timeoutSeconds: 90, everyMs: 1000 },
  );
  assert.match(await tell(one, 'ip -4 -o addr show dev eth0'), new RegExp(`inet ${address}/24 `));
});

step('a password that was reset opens the guest, and a wrong one does not', { timeout: 180_000 }, async () => {
  const { id } = one;
  await owner.client.run('stopVirtualMachine', { id }, { timeoutSeconds: 90 });
  const { virtualmachine } = await owner.client.run('resetPasswordForVirtualMachine', { id }, { timeoutSeconds: 60 });
  assert.ok(virtualmachine.password);
  await owner.client.run('startVirtualMachine', { id }, { timeoutSeconds: 90 });
  one = await vmOf(cloud, id);
  await guestSays(one.hostname, id, 'password');
  const address = one.nic[0].ipaddress;
  assert.equal((await spot.guest(address, { password: virtualmachine.password }, 'hostname')).trim(), one.name);
  await assert.rejects(spot.guest(address, { password: `${virtualmachine.password}x` }, 'hostname'), /Permission denied/);
});

step('guests and a network that are gone leave nothing on the hosts', { timeout: 240_000 }, async () => {
  const { admin } = cloud;
  const volumes = (await admin.list('listVolumes', { account: owner.account, domainid: owner.domainId })).map(({ id }) => id);
  assert.equal(volumes.length, 2);
  const devices = [one, two, router].flatMap(({ nic }) => nic.map(({ id }: Reply) => `t${id.slice(-12)}`));
  const macs = [one, two].flatMap(({ nic }) => nic.map(({ macaddress }: Reply) => macaddress));
  const vni = await vniOf(cloud, network.id);
  const names = [one.instancename, two.instancename, router.name, `brvx-${vni}`, `vxlan${vni}`];
  const ours = [...names, ...volumes, ...devices, ...macs];
  const onHosts = async () => JSON.stringify(await Promise.all(hostNames.map(traceOf)));
  const traces = await onHosts();
  for (const name of ours) assert.ok(traces.includes(name), `${name} is on a host while it is in use`);

  await spot.remove();
  await owner.client.run('destroyVirtualMachine', { id: two.id }, { timeoutSeconds: 90 });
  assert.equal((await vmOf(cloud, two.id)).state, 'Destroyed');
  await admin.run('expungeVirtualMachine', { id: two.id }, { timeoutSeconds: 60 });
  await admin.run('destroyVirtualMachine', { id: one.id, expunge: true }, { timeoutSeconds: 90 });
  assert.deepEqual(await owner.client.list('listVirtualMachines'), []);
  assert.deepEqual(await owner.client.list('listVolumes'), []);
  await owner.client.run('deleteNetwork', { id: network.id }, { timeoutSeconds: 120 });
  await eventually(
    'the hosts have nothing of them',
    async () => {
      const left = await onHosts();
      assert.deepEqual(
        ours.filter((name) => left.includes(name)),
        [],
      );
      return true;
    },
    { timeoutSeconds: 30, everyMs: 500 },
  );
  assert.deepEqual(await reserved(), reservedBefore);
  assert.deepEqual(await admin.list('listPublicIpAddresses', { ipaddress: router.publicip, allocatedonly: true, listall: true }), []);
});
