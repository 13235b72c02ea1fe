import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RouterConfiguration } from '../protocol/messages/router.ts';
import {
  guestMac,
  inside,
  ip,
  isRoot,
  type NetworkLab,
  openNetworkLab,
  outsideAddress,
  publicAddress,
  type RouterProgram,
  routerAddress,
  works,
} from './harness.ts';

let generation = 0;
const configuration = (changes: Partial<RouterConfiguration> = {}): RouterConfiguration => ({
  generation: ++generation,
  guest: { device: 'eth0', address: routerAddress, prefix: 24, mtu: 1450 },
  public: { device: 'eth2', address: publicAddress, prefix: 24, gateway: outsideAddress },
  dhcp: {
    gateway: routerAddress,
    netmask: '255.255.255.0',
    dnsServers: [routerAddress],
    domain: 'cs1.cloud.internal',
    mtu: 1450,
    leaseSeconds: 86_400,
    hosts: [
      { mac: guestMac(0), address: '10.1.1.20', hostName: 'web' },
      { mac: guestMac(1), address: '10.1.1.21', hostName: 'ignore' },
    ],
  },
  dns: {
    domain: 'cs1.cloud.internal',
    forwarders: [outsideAddress],
    records: [
      { name: 'web', address: '10.1.1.20' },
      { name: 'db', address: '10.1.1.21' },
    ],
  },
  sourceNat: { publicAddress },
  userData: {
    guests: [
      {
        address: '10.1.1.20',
        metadata: { 'instance-id': 'i-20', 'local-ipv4': '10.1.1.20', 'public-keys': 'ssh-ed25519 AAAA one\nssh-ed25519 BBBB two' },
        userData: Buffer.from([0x23, 0x21, 0x00, 0xff, 0x0a]).toString('base64'),
        password: { generation: 7, text: 'pW-20-secret' },
      },
      { address: '10.1.1.21', metadata: { 'instance-id': 'i-21' }, userData: '', password: null },
    ],
  },
  firewall: { egressDefault: 'allow', egress: [] },
  ...changes,
});

describe('a router between real networks', { skip: isRoot ? false : 'needs root', timeout: 120_000 }, () => {
  let lab: NetworkLab;
  let router: RouterProgram;

  before(async () => {
    lab = await openNetworkLab({ guests: 3 });
    const answerWithAddress = `require('http').createServer((q,r)=>r.end(q.socket.remoteAddress)).listen(8000,'0.0.0.0',()=>console.log('up'))`;
    await Promise.all([
      lab.startOutside(process.execPath, ['-e', answerWithAddress]),
      lab.startOutside('/usr/sbin/dnsmasq', [
        ...['--keep-in-foreground', '--conf-file=/dev/null', '--no-hosts', '--no-resolv', '--log-facility=-', '--pid-file='],
        ...['--address=/www.example.org/198.18.7.7', `--listen-address=${outsideAddress}`, '--bind-interfaces'],
      ]),
    ]);
    router = await lab.startRouter();
    const answer = await router.apply(configuration());
    assert.equal(answer.generation, generation);
    assert.equal(answer.changedFiles, 4);
  });
  after(async () => {
    await lab?.close();
  });

  test('VR-02: a guest gets its own address, gateway, DNS, domain and MTU by DHCP, and an unknown MAC gets nothing', async () => {
    const [web, other, stranger] = await Promise.all([0, 1, 2].map((index) => lab.guest(index).askAddress()));
    assert.ok(web && other);
    assert.deepEqual(
      { ip: web['ip'], mask: web['mask'], router: web['router'], dns: web['dns'], domain: web['domain'], mtu: web['mtu'] },
      { ip: '10.1.1.20', mask: '24', router: routerAddress, dns: routerAddress, domain: 'cs1.cloud.internal', mtu: '1450' },
    );
    assert.equal(web['hostname'], 'web');
    assert.equal(web['lease'], '86400');
    assert.equal(other['ip'], '10.1.1.21');
    assert.equal(stranger, null);
    assert.equal((await lab.guest(0).askAddress())?.['ip'], '10.1.1.20');
  });

  test('VR-02: a NIC that is not the default one of its guest gets its address, and no gateway or DNS that would rival the other', async () => {
    const aside = configuration();
    Object.assign(aside.dhcp?.hosts[1] ?? {}, { isDefault: false });
    await router.apply(aside);
    const lease = await lab.guest(1).askAddress();
    assert.deepEqual([lease?.['ip'], lease?.['mask'], lease?.['mtu']], ['10.1.1.21', '24', '1450']);
    assert.deepEqual([lease?.['router'], lease?.['dns'], lease?.['domain']], [undefined, undefined, undefined]);
    assert.equal((await lab.guest(0).askAddress())?.['router'], routerAddress);
    await router.apply(configuration());
    assert.equal((await lab.guest(1).askAddress())?.['router'], routerAddress);
  });

  test('VR-03: names resolve short and in full, others through the forwarder, and never for the public side', async () => {
    const guest = lab.guest(0);
    await guest.setAddress('10.1.1.20');
    assert.equal(await guest.resolve('db.cs1.cloud.internal'), '10.1.1.21');
    assert.equal(await guest.resolve('db'), '10.1.1.21');
    assert.equal(await guest.resolve('www.example.org'), '198.18.7.7');
    assert.equal(await guest.resolve('nobody.cs1.cloud.internal'), null);
    assert.equal(await lab.outside.resolve('db.cs1.cloud.internal', publicAddress), null);
  });

  test('VR-03: a renamed guest is found by its new name only, without a new dnsmasq', async () => {
    const before = await router.pid('dnsmasq');
    const renamed = configuration();
    renamed.dns?.records.splice(1, 1, { name: 'store', address: '10.1.1.21' });
    assert.equal((await router.apply(renamed)).changedFiles, 1);
    assert.equal(await lab.guest(0).resolve('store'), '10.1.1.21');
    assert.equal(await lab.guest(0).resolve('db'), null);
    assert.equal(await router.pid('dnsmasq'), before);
  });

  test('a host that is added gets an address and one that is taken out gets none, without a new dnsmasq', async () => {
    const before = await router.pid('dnsmasq');
    const added = configuration();
    added.dhcp?.hosts.push({ mac: guestMac(2), address: '10.1.1.22', hostName: '12h' });
    const handlesOf = async (): Promise<string> =>
      (await inside(lab.routerNamespace, 'nft', ['-a', 'list', 'chain', 'inet', 'nephos_router', 'forward'])).trim();
    const handles = await handlesOf();
    await router.apply(added);
    assert.equal(await handlesOf(), handles, 'the table was not loaded anew');
    assert.match(await inside(lab.routerNamespace, 'nft', ['list', 'set', 'inet', 'nephos_router', 'guests']), /10\.1\.1\.22/);
    assert.deepEqual((await router.read()).drift, [], 'what is there is what was added');
    const lease = await lab.guest(2).askAddress();
    assert.equal(lease?.['ip'], '10.1.1.22');
    assert.equal(lease?.['hostname'], '12h');
    assert.equal(lease?.['lease'], '86400');
    await router.apply(configuration());
    assert.doesNotMatch(await inside(lab.routerNamespace, 'nft', ['list', 'set', 'inet', 'nephos_router', 'guests']), /10\.1\.1\.22/);
    assert.deepEqual((await router.read()).drift, []);
    assert.equal(await lab.guest(2).askAddress(), null);
    assert.equal(await router.pid('dnsmasq'), before);
  });

  test('the outside sees the public address of the network, and no other', async () => {
    const guest = lab.guest(0);
    assert.equal(await guest.fetch(`http://${outsideAddress}:8000/`), publicAddress);
    assert.equal(await works(lab.outside.namespace, 'busybox', ['timeout', '2', 'ping', '-c', '1', '-W', '1', '10.1.1.20']), false);
  });

  test('an egress rule is in force as soon as it is applied, and gone with it', async () => {
    const guest = lab.guest(0);
    const url = `http://${outsideAddress}:8000/`;
    await router.apply(configuration({ firewall: { egressDefault: 'deny', egress: [] } }));
    assert.equal(await guest.fetch(url), null);
    const destinationCidr = '203.0.113.0/24';
    const match = { protocol: 'tcp' as const, startPort: 7990, endPort: 8010 };
    await router.apply(
      configuration({ firewall: { egressDefault: 'deny', egress: [{ sourceCidr: '10.1.1.20/32', destinationCidr, match }] } }),
    );
    assert.equal(await guest.fetch(url), publicAddress);
    await router.apply(
      configuration({ firewall: { egressDefault: 'allow', egress: [{ sourceCidr: '10.1.1.0/24', destinationCidr, match }] } }),
    );
    assert.equal(await guest.fetch(url), null);
    await router.apply(configuration());
    assert.equal(await guest.fetch(url), publicAddress);
  });

  test('metadata, user data and keys are those of the asking guest', async () => {
    const guest = lab.guest(0);
    const at = (path: string): Promise<string | null> => guest.fetch(`http://${routerAddress}/latest/${path}`);
    assert.equal(await at('meta-data/'), 'instance-id\nlocal-ipv4\npublic-keys');
    assert.equal(await at('meta-data/instance-id'), 'i-20');
    assert.equal(await at('meta-data/public-keys'), 'ssh-ed25519 AAAA one\nssh-ed25519 BBBB two');
    assert.equal(await at('meta-data/nothing'), null);
    assert.equal(await guest.fetch('http://169.254.169.254/latest/meta-data/instance-id'), 'i-20');
    const file = `${lab.runFolder}/user-data`;
    await inside(guest.namespace, 'busybox', ['wget', '-q', '-O', file, `http://${routerAddress}/latest/user-data`]);
    assert.deepEqual([...(await readFile(file))], [0x23, 0x21, 0x00, 0xff, 0x0a]);
    assert.equal(await lab.outside.fetch(`http://${publicAddress}/latest/meta-data/instance-id`), null);
  });

  test('a guest that takes a neighbour’s address gets nothing of the neighbour’s', async () => {
    const thief = lab.guest(1);
    await thief.setAddress('10.1.1.20');
    await ip('-netns', lab.guest(0).namespace, 'link', 'set', 'eth0', 'down');
    try {
      assert.equal(await thief.fetch(`http://${routerAddress}/latest/meta-data/instance-id`), null);
      assert.equal(await thief.fetch(`http://${routerAddress}:8080/`, ['DomU_Request: send_my_password']), null);
    } finally {
      await ip('-netns', lab.guest(0).namespace, 'link', 'set', 'eth0', 'up');
      await lab.guest(0).setAddress('10.1.1.20');
      await thief.setAddress('10.1.1.21');
    }
    assert.equal(await thief.fetch(`http://${routerAddress}/latest/meta-data/instance-id`), 'i-21');
  });

  test('a password is served until it is confirmed, then no more, also by a program started anew', async () => {
    const guest = lab.guest(0);
    const ask = (wish: string): Promise<string | null> => guest.fetch(`http://${routerAddress}:8080/`, [`DomU_Request: ${wish}`]);
    assert.equal(await ask('send_my_password'), 'pW-20-secret');
    assert.equal(await ask('send_my_password'), 'pW-20-secret');
    assert.equal(await ask('something'), null);
    assert.equal(await ask('saved_password'), 'saved_password');
    assert.equal(await ask('send_my_password'), 'saved_password');
    assert.equal(await router.bells(), 1);
    assert.deepEqual((await router.read()).passwordsSaved, { '10.1.1.20': 7 });

    await router.kill();
    assert.equal(await guest.resolve('db'), '10.1.1.21', 'dnsmasq serves while its program is away');
    router = await lab.startRouter();
    assert.equal(await ask('send_my_password'), 'saved_password');
    const fresh = configuration();
    const [first] = fresh.userData?.guests ?? [];
    if (first) first.password = { generation: 8, text: 'pW-next' };
    await router.apply(fresh);
    assert.equal(await ask('send_my_password'), 'pW-next');
  });

  test('the same configuration applied twice writes no file and reloads nothing; an older one is ignored', async () => {
    const wanted = configuration();
    await router.apply(wanted);
    const before = await Promise.all([router.pid('dnsmasq'), inside(lab.routerNamespace, 'nft', ['-a', 'list', 'ruleset'])]);
    assert.deepEqual(await router.apply(wanted), { generation: wanted.generation, changedFiles: 0 });
    assert.deepEqual(await Promise.all([router.pid('dnsmasq'), inside(lab.routerNamespace, 'nft', ['-a', 'list', 'ruleset'])]), before);
    const older = { ...configuration({ dns: null }), generation: wanted.generation - 1 };
    assert.deepEqual(await router.apply(older), { generation: wanted.generation, changedFiles: 0 });
    assert.equal(await lab.guest(0).resolve('db'), '10.1.1.21');
  });

  test('what was changed behind the router’s back is seen as drift and put right by the next apply', async () => {
    const wanted = configuration();
    await router.apply(wanted);
    assert.deepEqual((await router.read()).drift, []);
    await inside(lab.routerNamespace, 'nft', ['flush', 'chain', 'inet', 'nephos_router', 'source_nat']);
    await inside(lab.routerNamespace, 'nft', ['add', 'rule', 'inet', 'nephos_router', 'egress', 'accept']);
    assert.deepEqual((await router.read()).drift, ['firewall', 'sourceNat']);
    await router.apply(wanted);
    assert.deepEqual((await router.read()).drift, []);
    assert.equal(await lab.guest(0).fetch(`http://${outsideAddress}:8000/`), publicAddress);
  });

  test('a dnsmasq that was killed is running again within seconds', async () => {
    const killed = await router.pid('dnsmasq');
    process.kill(killed, 'SIGKILL');
    const deadline = Date.now() + 5000;
    while (Date.now() < deadline && (await lab.guest(0).resolve('db')) === null) await sleep(100);
    assert.equal(await lab.guest(0).resolve('db'), '10.1.1.21');
    assert.notEqual(await router.pid('dnsmasq'), killed);
    assert.equal((await router.read()).services['dnsmasq'], 'running');
  });

  test('VR-01: only the services that are wanted run, and one is added later without losing leases', async () => {
    await router.apply(configuration({ dns: null, userData: null }));
    const { services } = await router.read();
    assert.deepEqual(services, { dnsmasq: 'running', metadata: 'stopped', password: 'stopped' });
    assert.equal(await lab.guest(0).resolve('db'), null);
    assert.equal(await lab.guest(0).fetch(`http://${routerAddress}/latest/meta-data/`), null);
    assert.equal((await lab.guest(0).askAddress())?.['ip'], '10.1.1.20');
    await router.apply(configuration({ dhcp: null, dns: null, userData: null }));
    assert.equal((await router.read()).services['dnsmasq'], 'stopped');
    await router.apply(configuration());
    assert.equal(await lab.guest(0).resolve('db'), '10.1.1.21');
    assert.equal((await lab.guest(0).askAddress())?.['ip'], '10.1.1.20');
  });

  test('a router that is built anew from the same configuration is the same router', async () => {
    const wanted = configuration();
    await router.apply(wanted);
    const state = async (): Promise<unknown> => {
      const { fingerprint, drift, services } = await router.read();
      return {
        fingerprint,
        drift,
        services,
        rules: await inside(lab.routerNamespace, 'nft', ['-s', 'list', 'table', 'inet', 'nephos_router']),
      };
    };
    const before = await state();
    await router.close();
    await inside(lab.routerNamespace, 'nft', ['flush', 'ruleset']);
    await inside(lab.routerNamespace, 'busybox', ['rm', '-rf', `${lab.runFolder}/router`, `${lab.runFolder}/private`]);
    await ip('-netns', lab.routerNamespace, 'addr', 'flush', 'dev', 'eth2');
    router = await lab.startRouter();
    assert.equal((await router.read()).generation, 0);
    await router.apply(wanted);
    assert.deepEqual(await state(), before);
    assert.equal((await lab.guest(0).askAddress())?.['ip'], '10.1.1.20');
    assert.equal(await lab.guest(0).fetch(`http://${outsideAddress}:8000/`), publicAddress);
  });

  test('fifty rules and six hundred hosts on a router are applied as one transaction within seconds', async () => {
    const many = configuration();
    for (let index = 0; index < 600; index++) {
      const tail = index.toString(16).padStart(4, '0');
      const address = `10.1.${2 + Math.floor(index / 250)}.${1 + (index % 250)}`;
      many.dhcp?.hosts.push({ mac: `02:01:00:00:${tail.slice(0, 2)}:${tail.slice(2)}`, address, hostName: `vm-${index}` });
      many.dns?.records.push({ name: `vm-${index}`, address });
    }
    const egress = Array.from({ length: 50 }, (_, index) => ({
      sourceCidr: '10.1.1.0/24',
      destinationCidr: `198.51.100.${index}/32`,
      match: { protocol: 'tcp' as const, startPort: 1000 + index, endPort: 1500 },
    }));
    const started = performance.now();
    await router.apply({ ...many, firewall: { egressDefault: 'allow', egress } });
    assert.ok(performance.now() - started < 2000);
    assert.equal(await lab.guest(0).resolve('vm-599'), '10.1.4.100');
    assert.ok((await router.residentMib()) < 200);
  });
});
