import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostNetworks } from '../../protocol/messages/host.ts';
import type { BatchLine, ForwardingEntry, Link } from './links.ts';
import { compileForwarding, compileLinks } from './vxlan.ts';

const networks = (...wanted: HostNetworks['networks']): HostNetworks => ({ generation: 1, tunnelAddress: '198.18.0.11', networks: wanted });
const words = (lines: readonly BatchLine[]): string[] => lines.map((line) => line.join(' '));
const bridge = (vni: number, more: Partial<Link> = {}): Link => ({
  name: `brvx-${vni}`,
  mtu: 1450,
  up: true,
  master: null,
  kind: 'bridge',
  vxlan: null,
  ...more,
});
const device = (vni: number, more: Partial<Link> = {}): Link => ({
  name: `vxlan${vni}`,
  mtu: 1450,
  up: true,
  master: `brvx-${vni}`,
  kind: 'vxlan',
  vxlan: { vni, local: '198.18.0.11', port: 8472, learning: false },
  ...more,
});
const tap = (vni: number): Link => ({ ...bridge(vni), name: 't0123456789ab', kind: 'tun', master: `brvx-${vni}` });

test('RL-18 a network that is not there is made whole, one that is there is left alone', () => {
  assert.deepEqual(words(compileLinks(networks({ vni: 7, mtu: 1450, peers: [] }), [])), [
    'link add name brvx-7 mtu 1450 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
    'link set dev brvx-7 addrgenmode none',
    'link add name vxlan7 mtu 1450 type vxlan id 7 local 198.18.0.11 dstport 8472 nolearning',
    'link set dev vxlan7 addrgenmode none',
    'link set dev vxlan7 master brvx-7 up',
    'link set dev brvx-7 up',
  ]);
  assert.deepEqual(compileLinks(networks({ vni: 7, mtu: 1450, peers: [] }), [bridge(7), device(7)]), []);
});

test('what differs is put right', () => {
  const wanted = networks({ vni: 7, mtu: 1400, peers: [] });
  assert.deepEqual(words(compileLinks(wanted, [bridge(7, { up: false }), device(7, { master: null })])), [
    'link set dev vxlan7 mtu 1400',
    'link set dev vxlan7 master brvx-7 up',
    'link set dev brvx-7 mtu 1400',
    'link set dev brvx-7 up',
  ]);
  for (const wrong of [{ local: '198.18.0.99' }, { learning: true }, { port: 4789 }, { vni: 8 }]) {
    const seen = [
      bridge(7, { mtu: 1400 }),
      device(7, { vxlan: { vni: 7, local: '198.18.0.11', port: 8472, learning: false, ...wrong }, mtu: 1400 }),
    ];
    assert.deepEqual(words(compileLinks(wanted, seen)).slice(0, 2), [
      'link delete dev vxlan7',
      'link add name vxlan7 mtu 1400 type vxlan id 7 local 198.18.0.11 dstport 8472 nolearning',
    ]);
  }
});

test('a network that is wanted no longer goes when its last machine has left; nothing of others is touched', () => {
  const others = [
    bridge(0, { name: 'cloudbr0' }),
    bridge(0, { name: 'brvx-x' }),
    bridge(0, { name: 'vxlan0' }),
    device(3, { name: 'vxlan-of-somebody' }),
  ];
  assert.deepEqual(words(compileLinks(networks(), [bridge(7), device(7), ...others])), [
    'link delete dev brvx-7',
    'link delete dev vxlan7',
  ]);
  assert.deepEqual(compileLinks(networks(), [bridge(7), device(7), tap(7), ...others]), []);
});

test('forwarding entries are brought to what is wanted by the smallest change', () => {
  const wanted = networks({
    vni: 7,
    mtu: 1450,
    peers: [
      { address: '198.18.0.12', macs: ['02:00:00:00:00:01', '02:00:00:00:00:02'] },
      { address: '198.18.0.13', macs: ['02:00:00:00:00:03'] },
    ],
  });
  const entry = (mac: string, destination: string, on = 'vxlan7'): ForwardingEntry => ({ mac, destination, device: on });
  const lines = words(
    compileForwarding(wanted, [
      entry('00:00:00:00:00:00', '198.18.0.12'),
      entry('00:00:00:00:00:00', '198.18.0.99'),
      entry('02:00:00:00:00:01', '198.18.0.12'),
      entry('02:00:00:00:00:03', '198.18.0.12'),
      entry('02:00:00:00:00:04', '198.18.0.12'),
      entry('02:00:00:00:00:02', '198.18.0.12', 'vxlan8'),
    ]),
  );
  assert.deepEqual(lines, [
    'fdb del 00:00:00:00:00:00 dev vxlan7 dst 198.18.0.99 self',
    'fdb del 02:00:00:00:00:04 dev vxlan7 dst 198.18.0.12 self',
    'fdb append 00:00:00:00:00:00 dev vxlan7 dst 198.18.0.13 self permanent',
    'fdb replace 02:00:00:00:00:02 dev vxlan7 dst 198.18.0.12 self permanent',
    'fdb replace 02:00:00:00:00:03 dev vxlan7 dst 198.18.0.13 self permanent',
  ]);
});

test('applying any wanted state to any seen one ends in the wanted one, and a second time does nothing', () => {
  let seed = 7;
  const random = (limit: number): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % limit;
  };
  const mac = (): string => `02:00:00:00:00:${random(12).toString(16).padStart(2, '0')}`;
  const address = (): string => `198.18.0.${11 + random(4)}`;
  for (let round = 0; round < 300; round += 1) {
    const addresses = [...new Set(Array.from({ length: random(4) }, address))];
    const wanted = networks({
      vni: 7,
      mtu: 1450,
      peers: addresses.map((to) => ({ address: to, macs: Array.from({ length: random(5) }, mac) })),
    });
    const table = new Map<string, ForwardingEntry>();
    const keyOf = ({ mac: key, destination }: ForwardingEntry): string => (key.startsWith('00') ? `${key} ${destination}` : key);
    for (let entries = random(8); entries > 0; entries -= 1) {
      const seen = { mac: random(3) === 0 ? '00:00:00:00:00:00' : mac(), destination: address(), device: 'vxlan7' };
      table.set(keyOf(seen), seen);
    }
    for (const [, verb, key, , , , destination] of compileForwarding(wanted, [...table.values()])) {
      const changed = { mac: String(key), destination: String(destination), device: 'vxlan7' };
      if (verb === 'del') assert.ok(table.delete(keyOf(changed)), 'an entry is removed that is not there');
      else table.set(keyOf(changed), changed);
    }
    assert.deepEqual(compileForwarding(wanted, [...table.values()]), []);
    assert.equal([...table.values()].filter((entry) => entry.mac.startsWith('00')).length, addresses.length);
  }
});
