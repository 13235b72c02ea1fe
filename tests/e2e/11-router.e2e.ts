/** Two tenants with the same addresses on the same hosts, and what happens to them when a router dies, is cut off, or is not needed for a while. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { eventually, type Reply } from '../../lab/client.ts';
import { inHost } from '../../lab/lab.ts';
import { topology } from '../../lab/topology.ts';
import {
  capture,
  guestSays,
  hostNames,
  inOrder,
  inSystemVm,
  keyFile,
  onHost,
  type RealCloud,
  realCloud,
  routerOf,
  type Station,
  station,
  type Tenant,
  tenant,
  vmOf,
  vniOf,
} from './cloud.ts';

const SHARED_ADDRESS = '10.1.1.20';
const STATION_ADDRESS = '10.1.1.250';

interface Side {
  readonly tenant: Tenant;
  readonly network: Reply;
  readonly key: { key: string };
  readonly vni: number;
  /** On the first host, with an address that both sides have. */
  readonly near: Reply;
  /** On the second host, with an address of this side alone. */
  readonly far: Reply;
  readonly spot: Station;
}

const step = inOrder();
let cloud: RealCloud;
let red: Side;
let blue: Side;
const undo: (() => Promise<void>)[] = [];

before(async () => {
  cloud = await realCloud();
});
after(async () => {
  for (const each of undo.reverse()) await each();
});

const tell = ({ spot, key }: Side, guest: Reply, line: string): Promise<string> => spot.guest(guest.nic[0].ipaddress, key, line);
const settings = async (values: Record<string, string>): Promise<void> => {
  for (const [name, value] of Object.entries(values)) await cloud.admin.call('updateConfiguration', { name, value });
};

async function side(name: string, farAddress: string): Promise<Side> {
  const owner = await tenant(cloud, name);
  undo.push(owner.remove);
  const network = await owner.network(`e2e-${name}`);
  const { keypair } = await owner.client.call('createSSHKeyPair', { name });
  const hosts = await cloud.admin.list('listHosts', { type: 'Routing' });
  const guest = (what: string, host: string, ipaddress: string) =>
    owner.deploy({
      networkids: network.id,
      name: `${name}-${what}`,
      keypair: name,
      ipaddress,
      hostid: hosts.find((each) => each.name === host)?.id,
    });
  const near = await guest('near', hostNames[0], SHARED_ADDRESS);
  const far = await guest('far', hostNames[1], farAddress);
  const vni = await vniOf(cloud, network.id);
  const spot = await station(hostNames[0], vni, STATION_ADDRESS);
  undo.push(spot.remove);
  return { tenant: owner, network, key: { key: await keyFile(keypair.privatekey) }, vni, near, far, spot };
}

step('two tenants have the same addresses on both hosts', { timeout: 300_000 }, async () => {
  const sides = await Promise.allSettled([side('red', '10.1.1.31'), side('blue', '10.1.1.32')]);
  for (const each of sides) if (each.status === 'rejected') throw each.reason;
  [red, blue] = sides.map((each) => (each.status === 'fulfilled' ? each.value : null)) as [Side, Side];
  assert.equal(red.network.cidr, blue.network.cidr);
  for (const { near, far } of [red, blue]) {
    assert.deepEqual([near.hostname, far.hostname], hostNames);
    for (const guest of [near, far]) await guestSays(guest.hostname, guest.id, 'metadata');
    assert.equal(near.nic[0].ipaddress, SHARED_ADDRESS);
  }
});

step('RL-18 guests of a network talk across hosts in its VXLAN, whole packets of its MTU, and never with another tenant', {}, async () => {
  assert.notEqual(red.vni, blue.vni);
  const underlay = topology.hostBridges.management;
  const seen = await capture(hostNames[0], underlay, 'udp port 8472', 60, 'vxlan');
  const inner = Number(red.network.privatemtu);
  for (const each of [red, blue]) {
    assert.equal((await tell(each, each.near, 'hostname')).trim(), each.near.name, 'one address, two machines');
    const full = `ping -c 2 -W 5 -s ${inner - 28} ${each.far.nic[0].ipaddress}`;
    assert.match(await tell(each, each.near, full), /2 packets received/);
    const foreign = (each === red ? blue : red).far;
    assert.match(await tell(each, each.near, `ping -c 2 -W 1 ${foreign.nic[0].ipaddress} || true`), / 0 packets received/);
    await assert.rejects(tell(each, each.near, `nslookup ${foreign.name}`), 'VR-03: names of another tenant do not resolve');
  }
  const text = (await seen.stop()).join('\n');
  const packets = text.split(/\n(?=\d\d:\d\d:\d\d\.\d)/);
  for (const [each, other] of [
    [red, blue],
    [blue, red],
  ] as const) {
    const macs = [each.near, each.far].map(({ nic }) => nic[0].macaddress);
    const own = packets.filter((packet) => macs.some((mac) => packet.includes(mac)));
    assert.ok(own.length >= 4, `${own.length} packets of ${each.tenant.account} were on the wire`);
    for (const packet of own) {
      assert.match(packet, new RegExp(`vni ${each.vni}\\b`));
      assert.doesNotMatch(packet, new RegExp(`vni ${other.vni}\\b`));
    }
    const echo = own.find((packet) => packet.includes('ICMP echo request') && packet.includes(`length ${inner}`));
    assert.ok(echo, `an echo request of ${inner} bytes`);
    // Outside it has an Ethernet header of its own (14), VXLAN (8), UDP (8) and IP (20) more.
    assert.match(echo, new RegExp(`proto UDP \\(17\\), length ${inner + 50}\\)`), echo);
    assert.doesNotMatch(echo, /flags \[\+\]|offset [1-9]/, 'in one piece');
  }
});

/** What a router was told, as its kernel and daemons have it. */
const insides = (router: Reply): Promise<string> =>
  inSystemVm(
    cloud,
    router,
    `nft -s list table inet nephos_router; cat /run/nephos/router/dnsmasq.conf /run/nephos/router/dhcp-hosts /run/nephos/router/dns-hosts; ip -4 -o address show dev eth0 scope global | cut -c 1-40; ip -4 -o address show dev eth2 scope global | cut -c 1-40`,
  );

step('SV-05 a router killed under a running guest is replaced by another machine that does the same', { timeout: 240_000 }, async (t) => {
  const old = await routerOf(cloud, red.network.id);
  await inSystemVm(cloud, old, 'echo here >/root/marker; sync');
  assert.equal(await inSystemVm(cloud, old, 'cat /root/marker'), 'here\n');
  const wanted = await insides(old);
  assert.match(wanted, /chain forward/);
  assert.match(wanted, new RegExp(red.near.nic[0].macaddress));
  const booted = await tell(red, red.near, 'cat /proc/sys/kernel/random/boot_id');
  const pid = (await onHost(old.hostname, 'cat', `/run/libvirt/qemu/${old.name}.pid`)).trim();
  const since = performance.now();
  await inHost(old.hostname, 'kill', ['-9', '--', pid], { timeoutSeconds: 10 });
  const next = await eventually(
    'another router runs',
    async () => {
      const [router] = await cloud.admin.list('listRouters', { networkid: red.network.id, listall: true });
      return router && router.id !== old.id && router.state === 'Running' ? router : null;
    },
    { timeoutSeconds: 180, everyMs: 500 },
  );
  const line = `wget -q -T 5 -O - http://${topology.internet.wwwName}/source`;
  const source = await eventually('the guest reaches the internet again', () => tell(red, red.near, line), { timeoutSeconds: 60 });
  t.diagnostic(`from the kill to the guest's next reply from the internet: ${((performance.now() - since) / 1000).toFixed(1)} s`);
  assert.notEqual(next.name, old.name);
  assert.deepEqual(
    [next.publicip, next.guestipaddress, source.trim()],
    [old.publicip, old.guestipaddress, old.publicip],
    'addresses are those of the network, not of the machine',
  );
  await assert.rejects(inSystemVm(cloud, next, 'cat /root/marker'), /No such file/);
  assert.equal(await insides(next), wanted);
  assert.equal(await tell(red, red.near, 'cat /proc/sys/kernel/random/boot_id'), booted, 'the guest ran on');
  const renewed = await tell(red, red.near, `udhcpc -n -q -t 5 -T 2 -i eth0 -s /bin/true 2>&1`);
  assert.match(renewed, new RegExp(`lease of ${SHARED_ADDRESS.replaceAll('.', '\\.')} obtained`));
  assert.deepEqual(await cloud.admin.list('listRouters', { id: old.id, listall: true }), []);
});

step('VR-11 a router is told over the control network alone; cut off, it is told again when it is back', { timeout: 120_000 }, async () => {
  const router = await routerOf(cloud, red.network.id);
  const gateway = red.near.nic[0].gateway;
  const userData = (text: string) => Buffer.from(text).toString('base64');
  const change = (text: string) => cloud.admin.call('updateVirtualMachine', { id: red.near.id, userdata: userData(text) });
  const heard = () => tell(red, red.near, `wget -q -T 5 -O - http://${gateway}/latest/user-data`);
  const [onControl, onGuest, onPublic] = await Promise.all([
    capture(router.hostname, 'cloud0', `tcp port 8250 and host ${router.linklocalip}`, 60),
    capture(router.hostname, `brvx-${red.vni}`, 'tcp port 8250', 60),
    capture(router.hostname, topology.hostBridges.public, 'tcp port 8250', 60),
  ]);
  await change('first');
  await eventually('the router has heard of it', async () => (await heard()) === 'first', { timeoutSeconds: 30, everyMs: 300 });
  assert.ok((await onControl.stop()).length > 0);
  assert.deepEqual([...(await onGuest.stop()), ...(await onPublic.stop())], [], 'nothing of it on the other networks');

  const control = router.nic.find(({ traffictype }: Reply) => traffictype === 'Control');
  const tap = `t${control.id.slice(-12)}`;
  await onHost(router.hostname, 'ip', 'link', 'set', 'dev', tap, 'down');
  try {
    await change('second');
    await new Promise((resolve) => setTimeout(resolve, 8000));
    assert.equal(await heard(), 'first', 'guests go on with what it knew');
  } finally {
    await onHost(router.hostname, 'ip', 'link', 'set', 'dev', tap, 'up');
  }
  await eventually('the router has caught up', async () => (await heard()) === 'second', { timeoutSeconds: 60, everyMs: 500 });
  assert.equal((await routerOf(cloud, red.network.id)).id, router.id, 'it was not replaced for a moment without its link');
});

step(
  'VR-09 a network that nobody uses loses its router, and has the same source NAT address when it is used again',
  { timeout: 240_000 },
  async () => {
    const router = await routerOf(cloud, blue.network.id);
    const stop = (id: string) => cloud.admin.run('stopVirtualMachine', { id }, { timeoutSeconds: 90 });
    await blue.spot.remove();
    await Promise.all([stop(blue.near.id), stop(blue.far.id)]);
    await settings({ 'network.gc.interval': '1', 'network.gc.wait': '1' });
    try {
      await eventually(
        'the network is shut down',
        async () => (await cloud.admin.list('listNetworks', { id: blue.network.id, listall: true }))[0].state === 'Allocated',
        { timeoutSeconds: 90, everyMs: 500 },
      );
    } finally {
      await settings({ 'network.gc.interval': '600', 'network.gc.wait': '600' });
    }
    assert.deepEqual(await cloud.admin.list('listRouters', { networkid: blue.network.id, listall: true }), []);
    for (const host of hostNames)
      await eventually(
        `${host} has nothing of the network`,
        async () => !new RegExp(`(brvx-|vxlan)${blue.vni}\\b`).test(await onHost(host, 'ip', '-brief', 'link')),
        { timeoutSeconds: 20 },
      );
    await cloud.admin.run('startVirtualMachine', { id: blue.near.id }, { timeoutSeconds: 180 });
    const next = await routerOf(cloud, blue.network.id);
    assert.notEqual(next.id, router.id);
    assert.equal(next.publicip, router.publicip);
    const near = await vmOf(cloud, blue.near.id);
    assert.equal(near.nic[0].ipaddress, SHARED_ADDRESS);
    await guestSays(near.hostname, near.id, 'metadata');
  },
);

step('the tenants leave', { timeout: 240_000 }, async () => {
  await red.spot.remove();
  await Promise.all([red.tenant.remove(), blue.tenant.remove()]);
  // Hosts are told of it after the jobs, by a task of its own.
  for (const host of hostNames)
    await eventually(
      `${host} has nothing of their networks`,
      async () => !new RegExp(`(brvx-|vxlan)(${red.vni}|${blue.vni})\\b`).test(await onHost(host, 'ip', '-brief', 'link')),
      { timeoutSeconds: 30 },
    );
});
