import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import type { MachineSpec } from '../../../protocol/messages/machine.ts';
import { type SimulatedHost, type SimulatedStorage, simulatedHost } from './index.ts';

const sha256 = '0'.repeat(64);
const ask = (host: SimulatedHost, name: string, question: unknown): Promise<unknown> => {
  const handler = host.handlers.find((candidate) => candidate.name === name);
  assert.ok(handler, name);
  return handler.handle(question, { requestId: 'test', signal: new AbortController().signal });
};

function setting() {
  const storage: SimulatedStorage = new Map();
  const make = (more: Partial<Parameters<typeof simulatedHost>[0]> = {}) =>
    simulatedHost({ id: newId('host'), cpuCount: 8, memoryMib: 1024, storage, ...more });
  const pool = { id: newId('storagePool'), type: 'SharedMountPoint', path: '/primary', server: null };
  const imageId = newId('template');
  const volumeId = newId('volume');
  const spec: MachineSpec = {
    id: newId('machine'),
    name: 'r-4-VM',
    kind: 'router',
    cpuCount: 1,
    cpuMhz: 500,
    memoryMib: 600,
    boot: { kind: 'direct', kernel: 'kernel-1', initrd: 'initrd-1', arguments: 'type=router', payload: 'systemvm-1.iso' },
    disks: [{ volumeId, poolId: pool.id, device: 0, bus: 'virtio' }],
    iso: null,
    nics: [
      {
        nicId: newId('nic'),
        device: 0,
        mac: '02:00:00:00:00:01',
        mtu: 1450,
        attachment: { kind: 'vxlan', vni: 7 },
        addresses: null,
        model: 'virtio',
      },
    ],
    vncPassword: 'abcdefgh',
    keyboard: 'en-us',
  };
  const life: [string, unknown][] = [
    ['host.describe', {}],
    ['host.configure', { controlAddress: '169.254.0.1/16', relayTargets: ['198.18.0.1:8250'], vncListenAddress: '198.18.0.11' }],
    ['host.applyNetworks', { generation: 3, tunnelAddress: '198.18.0.11', networks: [{ vni: 7, mtu: 1450, peers: [] }] }],
    [
      'host.ensureBootFiles',
      { files: ['kernel-1', 'initrd-1', 'systemvm-1.iso'].map((name) => ({ name, url: `https://a/files/${name}`, sha256 })) },
    ],
    ['pool.attach', { pool }],
    ['pool.ensureImage', { poolId: pool.id, imageId, url: 'https://b/images/x', sha256, format: 'qcow2' }],
    ['volume.create', { poolId: pool.id, volumeId, sizeBytes: 5, imageId }],
    ['machine.start', { spec }],
    ['machine.list', {}],
    ['machine.reboot', { id: spec.id, force: false }],
    ['machine.changeIso', { id: spec.id, iso: null }],
    ['machine.serialLog', { id: spec.id }],
    ['machine.stop', { id: spec.id, force: false, graceSeconds: 5 }],
    ['machine.listRemains', {}],
    ['machine.forget', { ids: [spec.id] }],
    ['volume.remove', { poolId: pool.id, volumeId }],
    ['pool.removeImage', { poolId: pool.id, imageId }],
    ['pool.list', { poolId: pool.id }],
    ['pool.measure', { poolId: pool.id }],
    ['pool.detach', { poolId: pool.id }],
  ];
  return { make, pool, imageId, volumeId, spec, life };
}

test('every message may arrive twice: the second answer is the first, and the world does not move', async () => {
  const { make, life } = setting();
  const host = make();
  assert.deepEqual(life.map(([name]) => name).sort(), host.handlers.map(({ name }) => name).sort());
  for (const [name, question] of life) {
    const first = await ask(host, name, question);
    // A measure of a detached pool is asked no second time; everything else is.
    assert.deepEqual(await ask(host, name, question), first, name);
  }
});

test('volumes are shared by the hosts that share a pool', async () => {
  const { make, life, spec } = setting();
  const [one, other] = [make(), make()];
  for (const [name, question] of life.slice(0, 7)) await ask(one, name, question);
  for (const [name, question] of life.slice(1, 5)) await ask(other, name, question);
  assert.deepEqual(await ask(other, 'machine.start', { spec }), { power: 'On', vncPort: 5900 });
});

test('a machine needs its files, its network, and room', async () => {
  const { make, life, spec, pool, volumeId } = setting();
  const without = async (left: string) => {
    const host = make({ storage: new Map() });
    for (const [name, question] of life.slice(1, 7)) if (name !== left) await ask(host, name, question);
    return ask(host, 'machine.start', { spec });
  };
  await assert.rejects(without('volume.create'), { code: 'NotFound' });
  await assert.rejects(without('host.ensureBootFiles'), { code: 'NotFound' });
  await assert.rejects(without('host.applyNetworks'), { code: 'ResourceUnavailable' });
  const host = make();
  for (const [name, question] of life.slice(0, 8)) await ask(host, name, question);
  await assert.rejects(ask(host, 'machine.start', { spec: { ...spec, id: newId('machine'), name: 'r-5-VM' } }), {
    code: 'InsufficientCapacity',
  });
  await assert.rejects(ask(host, 'machine.start', { spec: { ...spec, id: newId('machine') } }), { code: 'Conflict' });
  await assert.rejects(ask(host, 'volume.remove', { poolId: pool.id, volumeId }), { code: 'InUse' });
  await assert.rejects(ask(host, 'pool.detach', { poolId: pool.id }), { code: 'InUse' });
});

test('an older generation of networks is ignored', async () => {
  const { make, life } = setting();
  const host = make();
  for (const [name, question] of life.slice(0, 3)) await ask(host, name, question);
  const older = { generation: 2, tunnelAddress: '198.18.0.11', networks: [] };
  assert.deepEqual(await ask(host, 'host.applyNetworks', older), { generation: 3 });
  assert.equal(host.networks()?.networks.length, 1);
});

test('the beat tells differences; a guest that shuts itself down rings', async () => {
  const { make, life, spec } = setting();
  const powers: string[] = [];
  const host = make({ onPower: (of, power) => powers.push(`${of.name} ${power}`) });
  let rings = 0;
  host.watch(() => {
    rings += 1;
  });
  assert.deepEqual(await host.beat(), { host: { whole: true, machines: [] } });
  for (const [name, question] of life.slice(0, 8)) await ask(host, name, question);
  assert.deepEqual(await host.beat(), { host: { whole: false, machines: [{ id: spec.id, power: 'On' }] } });
  host.powerOff(spec.id);
  host.powerOff(spec.id);
  assert.equal(rings, 1);
  assert.deepEqual(await host.beat(), { host: { whole: false, machines: [{ id: spec.id, power: 'Off' }] } });
  host.linkUp();
  assert.deepEqual(await host.beat(), { host: { whole: true, machines: [] } });
  assert.deepEqual(powers, ['r-4-VM On', 'r-4-VM Off']);
});

test('failures and delays are as ordered', async () => {
  const { make } = setting();
  const host = make({
    latencyMilliseconds: (name) => (name === 'machine.list' ? 30 : 0),
    failure: (name) => (name === 'host.describe' ? new CloudError('Unreachable', 'as ordered') : null),
  });
  await assert.rejects(ask(host, 'host.describe', {}), { code: 'Unreachable' });
  const begun = performance.now();
  await ask(host, 'machine.list', {});
  assert.ok(performance.now() - begun >= 25);
  await assert.rejects(ask(host, 'machine.list', { unknown: 1 }), { code: 'MalformedParameter' });
});

test('ten thousand hosts fit into one process', () => {
  const before = process.memoryUsage().heapUsed;
  const hosts = Array.from({ length: 10_000 }, () => simulatedHost({ id: newId('host'), cpuCount: 8, memoryMib: 1024 }));
  const each = (process.memoryUsage().heapUsed - before) / hosts.length;
  assert.ok(each < 30_000, `${Math.round(each)} bytes each`);
});
