import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { RouterConfiguration } from '../../protocol/messages/router.ts';
import { inside, ip, isRoot, works } from '../../router/harness.ts';
import { openSurroundings, type Surroundings, until, type Vm } from './harness.ts';

const configuration = (generation: number, ports: readonly number[]): RouterConfiguration => ({
  generation,
  guest: { device: 'eth0', address: '10.1.1.1', prefix: 24, mtu: 1500 },
  public: { device: 'eth2', address: '203.0.113.20', prefix: 24, gateway: '203.0.113.1' },
  dhcp: {
    gateway: '10.1.1.1',
    netmask: '255.255.255.0',
    dnsServers: ['10.1.1.1'],
    domain: 'cs1.cloud.internal',
    mtu: 1500,
    leaseSeconds: 3600,
    hosts: [{ mac: '02:00:00:00:06:01', address: '10.1.1.20', hostName: 'web' }],
  },
  dns: { domain: 'cs1.cloud.internal', forwarders: [], records: [{ name: 'web', address: '10.1.1.20' }] },
  sourceNat: { publicAddress: '203.0.113.20' },
  userData: { guests: [{ address: '10.1.1.20', metadata: { 'instance-id': 'i-20' }, userData: '', password: null }] },
  firewall: {
    egressDefault: 'deny',
    egress: ports.map((port) => ({
      sourceCidr: '10.1.1.0/24',
      destinationCidr: '0.0.0.0/0',
      match: { protocol: 'tcp' as const, startPort: port, endPort: port },
    })),
  },
});

describe('a router with a link through the control network', { skip: isRoot ? false : 'needs root', timeout: 120_000 }, () => {
  let around: Surroundings;
  let router: Vm;
  const resolves = (name: string): Promise<boolean> =>
    works(around.namespace, 'busybox', ['timeout', '3', 'busybox', 'nslookup', '-type=a', name, '10.1.1.1']);
  const packets = async (): Promise<Record<string, string>> => {
    const counts = await Promise.all(
      ['guest', 'public', 'control'].map(async (device) => [
        device,
        (await inside(around.namespace, 'busybox', ['cat', `/sys/class/net/${device}/statistics/rx_packets`])).trim(),
      ]),
    );
    return Object.fromEntries(counts);
  };
  const rules = (): Promise<string> => inside(router.namespace, 'nft', ['list', 'table', 'inet', 'nephos_router']);

  before(async () => {
    around = await openSurroundings('router');
    router = await around.makeVm('router');
    router.start();
    await router.untilUp();
    await ip('-netns', around.namespace, 'link', 'set', 'guest', 'address', '02:00:00:00:06:01');
  });
  after(async () => {
    await around?.close();
  });

  test('VR-11: fifty rules travel over the control network alone and come into force as one transaction', async () => {
    await router.ask('ApplyRouter', configuration(1, []));
    assert.equal((await router.state()).address, '169.254.3.4');
    await until('ssh is up, so nothing else of the boot is on the wires', async () => (await router.console()).includes(' ready '));
    const before = await packets();
    const ports = Array.from({ length: 50 }, (_, index) => 1000 + index * 7);
    const answer = await router.ask('ApplyRouter', configuration(2, ports));
    assert.deepEqual(answer, { generation: 2, changedFiles: 1 });
    const afterwards = await packets();
    assert.equal(afterwards['guest'], before['guest']);
    assert.equal(afterwards['public'], before['public']);
    assert.notEqual(afterwards['control'], before['control']);
    assert.match(await rules(), /tcp dport \{ 1000, 1007, [\d, ]+ 1343 \} accept/s);
    assert.deepEqual((await router.ask<{ drift: string[]; generation: number }>('ReadRouter')).drift, []);
  });

  test('VR-11: with the control network cut an apply fails with the reason, guests are served on, and it converges afterwards', async () => {
    await ip('-netns', around.namespace, 'link', 'set', 'control', 'down');
    await assert.rejects(router.ask('ApplyRouter', configuration(3, [4444])), /Unreachable|link|connect/i);
    assert.equal(await resolves('web.cs1.cloud.internal'), true);
    assert.doesNotMatch(await rules(), /4444/);
    await ip('-netns', around.namespace, 'link', 'set', 'control', 'up');
    await router.untilUp();
    assert.deepEqual(await router.ask('ApplyRouter', configuration(3, [4444])), { generation: 3, changedFiles: 1 });
    assert.match(await rules(), /4444/);
  });

  test('a router’s program that was killed comes back with its configuration, and its network was served all the time', async () => {
    await router.kill();
    assert.equal(await resolves('web'), true);
    router.start();
    await router.untilUp();
    const seen = await until('restored', async () => {
      const read = await router.ask<{ generation: number; drift: string[]; services: Record<string, string> }>('ReadRouter');
      return read.generation === 3 && read.services['sshd'] === 'running' ? read : null;
    });
    assert.deepEqual(seen.drift, []);
    assert.deepEqual(seen.services, { dnsmasq: 'running', metadata: 'running', password: 'running', sshd: 'running' });
    assert.equal(await resolves('web'), true);
  });

  test('guests reach the router’s services and nothing else of it; the public side reaches none', async () => {
    const connects = (address: string, port: number): Promise<boolean> =>
      works(around.namespace, 'busybox', ['timeout', '1', 'busybox', 'nc', '-w', '1', address, String(port), '-e', 'true']);
    const targets = ['10.1.1.1', '203.0.113.20', '169.254.3.4'].flatMap((address) =>
      [22, 53, 80, 3922, 8080].map((port) => ({ address, port })),
    );
    const open = await Promise.all(
      targets.map(async ({ address, port }) => ((await connects(address, port)) ? [`${address}:${port}`] : [])),
    );
    assert.deepEqual(open.flat(), ['10.1.1.1:53', '10.1.1.1:80', '10.1.1.1:8080', '169.254.3.4:3922']);
  });
});
