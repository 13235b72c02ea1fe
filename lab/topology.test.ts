import assert from 'node:assert/strict';
import { isIPv4 } from 'node:net';
import { test } from 'node:test';
import { encodeMounts } from './mounts.ts';
import { HOSTS_MAX, hostPlan, hostPlans, internetPlan, nfsPlan, topology } from './topology.ts';

const wires = [...hostPlans(HOSTS_MAX), internetPlan, nfsPlan].flatMap((plan) => plan.wires);

test('no address, MAC, switch port or name is given twice', () => {
  const { machine } = topology;
  const addresses = [machine.management.address, machine.public.address, ...wires.flatMap(({ address }) => address ?? [])];
  assert.ok(addresses.every((address) => isIPv4(address)));
  assert.equal(new Set(addresses).size, addresses.length);
  assert.equal(new Set(wires.map(({ mac }) => mac)).size, wires.length);
  const ports = [machine.management.switchPort, machine.public.switchPort, ...wires.map(({ switchPort }) => switchPort)];
  assert.equal(new Set(ports).size, ports.length);
});

test('device names fit the kernel, and MACs are locally administered and of one machine', () => {
  for (const { switchPort, device, mac } of wires) {
    assert.ok(switchPort.length <= 15 && device.length <= 15, switchPort);
    assert.match(mac, /^02(:[0-9a-f]{2}){5}$/);
  }
});

test('every address lies in its network, and none in what the zone hands out', () => {
  const number = (address: string): number => address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const { ranges, networks } = topology;
  const handedOut = { management: ranges.podManagement, storage: ranges.storage, public: ranges.public };
  for (const { network, address } of wires) {
    if (address === null) continue;
    assert.equal(address.split('.').slice(0, 3).join('.'), networks[network].cidr.split('.').slice(0, 3).join('.'));
    const { first, last } = handedOut[network];
    assert.ok(number(address) < number(first) || number(address) > number(last), address);
  }
  // The machine must have a way to every public address that a guest may get.
  assert.ok(number(ranges.public.first) >= number('203.0.113.128'));
  assert.ok(topology.machine.public.routes.some((route) => route === '203.0.113.128/25'));
});

test('a host has its three legs', () => {
  const host = hostPlan(2);
  assert.equal(host.name, 'nephos-h2');
  assert.deepEqual(
    host.wires.map(({ network, device, bridge, address }) => [network, device, bridge, address]),
    [
      ['management', 'eth0', 'cloudbr0', '198.18.0.12'],
      ['public', 'eth1', 'cloudbr1', null],
      ['storage', 'eth2', 'cloudbr2', '198.18.1.12'],
    ],
  );
});

test('a table of mounts survives blanks and signs in paths', () => {
  assert.equal(
    encodeMounts([
      { source: '/a b/c#d\\e', target: '/t\tx', type: 'bind', options: ['ro'] },
      { source: 'tmpfs', target: '/n', type: 'tmpfs' },
    ]),
    '/a\\040b/c\\043d\\134e /t\\011x none bind,ro 0 0\ntmpfs /n tmpfs defaults 0 0\n',
  );
});
