import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../protocol/schema.ts';
import type { BootArguments } from './bootargs.ts';
import { compileOwnFirewall } from './firewall.ts';
import { compileNetwork, compileResolvConf } from './network.ts';

const bootArguments: BootArguments = {
  kind: 'console-proxy',
  name: 'v-1-VM',
  id: '01890000-0000-7000-8000-000000000001' as BootArguments['id'],
  zoneId: '01890000-0000-7000-8000-000000000002' as BootArguments['zoneId'],
  servers: ['198.18.0.1:8250'],
  token: new Secret('token'),
  caSha256: 'ab'.repeat(32),
  authorizedKey: 'ssh-ed25519 AAAA',
  nics: [
    { device: 'eth0', mac: '02:00:00:00:00:01', role: 'control', address: '169.254.3.4', prefix: 16, mtu: null },
    { device: 'eth1', mac: '02:00:00:00:00:02', role: 'management', address: '198.18.0.50', prefix: 20, mtu: 1450 },
    { device: 'eth2', mac: '02:00:00:00:00:03', role: 'public', address: '203.0.113.20', prefix: 24, mtu: null },
  ],
  defaultRoute: { gateway: '203.0.113.1', device: 'eth2' },
  managementCidrs: ['198.18.0.0/16', '198.18.0.0/20', '198.18.8.0/24', '198.19.0.0/16'],
  localGateway: '198.18.0.1',
  dnsServers: ['203.0.113.53', '198.18.0.53'],
  internalDnsServers: ['198.18.0.53'],
  domain: 'cloud.internal',
};
const inOrder = new Map(bootArguments.nics.map(({ mac, device }) => [mac, device]));

test('addresses are set before a NIC comes up, so that the kernel announces them; what is on the link is not routed', () => {
  assert.equal(
    compileNetwork(bootArguments, inOrder),
    `link set dev lo up
addr replace 169.254.3.4/16 broadcast + dev eth0
link set dev eth0 up
link set dev eth1 mtu 1450
addr replace 198.18.0.50/20 broadcast + dev eth1
link set dev eth1 up
addr replace 203.0.113.20/24 broadcast + dev eth2
link set dev eth2 up
route replace 198.18.0.0/16 via 198.18.0.1 dev eth1
route replace 198.19.0.0/16 via 198.18.0.1 dev eth1
route replace default via 203.0.113.1 dev eth2
`,
  );
});

test('NICs that the kernel found in another order are renamed, also when names are swapped', () => {
  const swapped = new Map([
    ['02:00:00:00:00:01', 'eth1'],
    ['02:00:00:00:00:02', 'eth0'],
    ['02:00:00:00:00:03', 'eth2'],
  ]);
  const lines = compileNetwork(bootArguments, swapped).split('\n');
  assert.deepEqual(lines.slice(1, 7), [
    'link set dev eth1 down',
    'link set dev eth1 name nephos-eth0',
    'link set dev eth0 down',
    'link set dev eth0 name nephos-eth1',
    'link set dev nephos-eth0 name eth0',
    'link set dev nephos-eth1 name eth1',
  ]);
  assert.throws(() => compileNetwork(bootArguments, new Map()), /no NIC has the MAC 02:00:00:00:00:01 of eth0/);
});

test('without a gateway of their own, management networks are on the link', () => {
  assert.equal(compileNetwork({ ...bootArguments, localGateway: null }, inOrder).includes('198.19'), false);
});

test('names are asked of the internal servers first, each server once', () => {
  assert.equal(compileResolvConf(bootArguments), 'search cloud.internal\nnameserver 198.18.0.53\nnameserver 203.0.113.53\n');
});

test('only the ports of the kind are open, and ssh on the control NIC alone', () => {
  const rules = compileOwnFirewall(bootArguments, { public: [80, 443] }, { public: [443] });
  const accepts = rules.split('\n').filter((line) => line.includes('dport'));
  assert.deepEqual(
    accepts.map((line) => line.trim()),
    [
      'iifname "eth0" ip daddr 169.254.3.4 tcp dport 3922 accept',
      'iifname "eth2" tcp dport { 80, 443 } accept',
      'iifname "eth2" udp dport { 443 } accept',
    ],
  );
  assert.match(rules, /hook input priority filter; policy drop;/);
});
