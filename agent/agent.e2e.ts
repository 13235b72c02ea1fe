/**
 * The agent on a real host: libvirt, QEMU, bridges, VXLAN, nftables. Run as a test it makes a host for itself inside this machine and goes
 * there; with the argument `here` it tries the host it is on. The end-to-end suite calls `tryAgentOnHost` in a host of the lab.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { newId } from '../protocol/ids.ts';
import { createLog } from '../protocol/log.ts';
import type { Handler } from '../protocol/message.ts';
import type { HostDescription } from '../protocol/messages/host.ts';
import type { MachineSpec } from '../protocol/messages/machine.ts';
import { hostHandlers } from './handlers.ts';
import type { Host } from './hypervisors/hypervisor.ts';
import { libvirtHost } from './hypervisors/libvirt/index.ts';
import { virsh } from './hypervisors/libvirt/virsh.ts';
import { readAddresses, readForwarding, readLinks } from './networking/links.ts';
import { tapDevice } from './networking/names.ts';
import { attempt, run } from './processes.ts';
import { openScratchHost } from './scratch-host.testing.ts';

export interface AgentTrial {
  readonly description: HostDescription;
  readonly startMilliseconds: number;
  readonly stopMilliseconds: number;
}

/** A boot sector that says one line on the serial port and rests. */
function speakingSector(line: string): Buffer {
  const text = Buffer.from(`${line}\r\n\0`, 'latin1');
  const code = Buffer.from([
    ...[0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x00, 0x00], // cli; ds = 0; si = text
    ...[0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5], // lodsb; until 0: out 0x3f8
    ...[0xf4, 0xeb, 0xfd], // hlt, for ever
  ]);
  code.writeUInt16LE(0x7c00 + code.length, 6);
  const sector = Buffer.alloc(512);
  code.copy(sector);
  text.copy(sector, code.length);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

const asked = async (handlers: readonly Handler[], name: string, ask: unknown): Promise<unknown> => {
  const handler = handlers.find((candidate) => candidate.name === name);
  assert.ok(handler, `no handler for ${name}`);
  return handler.handle(ask, { requestId: 'trial', signal: new AbortController().signal });
};

const taps = async (): Promise<string[]> => (await readLinks()).filter(({ kind }) => kind === 'tun').map(({ name }) => name);
const rules = async (): Promise<string> => (await attempt('nft', ['list', 'table', 'bridge', 'nephos'])).stdout;

/** Puts a machine through its life and asserts that nothing of it is left. `stateDirectory` must be reachable for QEMU's account. */
export async function tryAgentOnHost(): Promise<AgentTrial> {
  const room = await mkdtemp(join(tmpdir(), 'nephos-trial-'));
  await attempt('chmod', ['0711', '--', room]);
  const log = createLog('trial', { level: process.env['NEPHOS_LOG_LEVEL'] ?? 'error' });
  const stateDirectory = join(room, 'state');
  const hostId = newId('host');
  const open = (): Promise<Host> =>
    libvirtHost({
      config: { id: hostId, stateDirectory, bridges: { management: null, public: null, storage: null } },
      identity: () => null,
      log,
    });
  let host = await open();
  let handlers = hostHandlers(host);
  const before = { taps: await taps(), links: (await readLinks()).map(({ name }) => name) };
  const vni = 16_000_001;
  const machineId = newId('machine');
  try {
    let changes = 0;
    host.watch(() => {
      changes += 1;
    });
    const description = await host.describe();
    assert.ok(description.features['vxlan'], 'the host has no VXLAN');
    assert.ok(description.features['nftablesBridge'], 'the host has no nftables for bridges');
    await asked(handlers, 'host.configure', {
      controlAddress: '169.254.0.1/16',
      relayTargets: ['127.0.0.1:1'],
      vncListenAddress: '127.0.0.1',
    });
    assert.deepEqual(await readAddresses('cloud0'), ['169.254.0.1/16']);

    const networks = {
      generation: 2,
      tunnelAddress: '127.0.0.1',
      networks: [{ vni, mtu: 1450, peers: [{ address: '127.0.0.2', macs: ['02:00:00:00:00:77'] }] }],
    };
    for (let twice = 0; twice < 2; twice += 1) {
      assert.deepEqual(await asked(handlers, 'host.applyNetworks', networks), { generation: 2 });
      const entries = (await readForwarding()).filter(({ device }) => device === `vxlan${vni}`);
      assert.deepEqual(entries.map(({ mac, destination }) => `${mac} ${destination}`).sort(), [
        '00:00:00:00:00:00 127.0.0.2',
        '02:00:00:00:00:77 127.0.0.2',
      ]);
    }
    assert.deepEqual(await asked(handlers, 'host.applyNetworks', { ...networks, generation: 1, networks: [] }), { generation: 2 });

    const pool = { id: newId('storagePool'), type: 'Filesystem', path: join(room, 'pool'), server: null };
    await asked(handlers, 'pool.attach', { pool });
    const imageId = newId('template');
    const raw = join(room, 'image.raw');
    await writeFile(raw, speakingSector('Nephos guest speaks'));
    await run('make an image', 'qemu-img', [
      'convert',
      '-f',
      'raw',
      '-O',
      'qcow2',
      '--',
      raw,
      join(pool.path, 'images', `${imageId}.qcow2`),
    ]);
    await attempt('chmod', ['0444', '--', join(pool.path, 'images', `${imageId}.qcow2`)]);
    const volumeId = newId('volume');
    const createVolume = { poolId: pool.id, volumeId, sizeBytes: 8 * 1024 ** 2, imageId };
    const first = await asked(handlers, 'volume.create', createVolume);
    assert.deepEqual(await asked(handlers, 'volume.create', createVolume), first);
    const isoId = newId('template');
    await writeFile(join(pool.path, 'images', `${isoId}.iso`), Buffer.alloc(64 * 2048), { mode: 0o444 });

    const guestNic = newId('nic');
    const controlNic = newId('nic');
    const spec: MachineSpec = {
      id: machineId,
      name: 'i-1-9999-TRIAL',
      kind: 'guest',
      cpuCount: 1,
      cpuMhz: 500,
      memoryMib: 32,
      boot: { kind: 'disk' },
      disks: [{ volumeId, poolId: pool.id, device: 0, bus: 'virtio' }],
      iso: null,
      nics: [
        {
          nicId: guestNic,
          device: 0,
          mac: '02:00:00:00:00:01',
          mtu: 1450,
          attachment: { kind: 'vxlan', vni },
          addresses: ['10.1.1.5'],
          model: 'virtio',
        },
        {
          nicId: controlNic,
          device: 1,
          mac: '0e:00:a9:fe:00:09',
          mtu: 1500,
          attachment: { kind: 'control' },
          addresses: null,
          model: 'virtio',
        },
      ],
      vncPassword: 'Trial001',
      keyboard: 'en-us',
    };
    const begun = performance.now();
    const started = await asked(handlers, 'machine.start', { spec });
    const startMilliseconds = Math.round(performance.now() - begun);
    assert.deepEqual(await asked(handlers, 'machine.start', { spec: { ...spec, vncPassword: 'Trial002' } }), started);
    assert.deepEqual(await asked(handlers, 'machine.list', {}), { machines: [{ id: spec.id, name: spec.name, power: 'On' }] });
    assert.ok(typeof started === 'object' && started !== null && 'vncPort' in started);
    assert.match(await greeting(Number(started.vncPort)), /^RFB 003/);
    await until('the guest speaks', async () => (await host.machines.serialLog(spec.id)).includes('Nephos guest speaks'));

    const guarded = await rules();
    assert.match(guarded, new RegExp(`"${tapDevice(guestNic)}" \\. 10\\.1\\.1\\.5`));
    assert.match(guarded, new RegExp(`set control[^}]*"${tapDevice(controlNic)}"`));
    await assert.rejects(asked(handlers, 'volume.remove', { poolId: pool.id, volumeId }), { code: 'InUse' });
    await assert.rejects(asked(handlers, 'pool.detach', { poolId: pool.id }), { code: 'InUse' });
    for (const iso of [{ imageId: isoId, poolId: pool.id }, { imageId: isoId, poolId: pool.id }, null, null]) {
      await asked(handlers, 'machine.changeIso', { id: spec.id, iso });
    }

    // It knows no power button, so it is reset when it has not rebooted by itself.
    const spoken = async (): Promise<number> => (await host.machines.serialLog(spec.id)).split('Nephos guest speaks').length - 1;
    const spokenBefore = await spoken();
    for (const force of [true, false]) {
      const before = await spoken();
      const seen = virsh(room).untilReboot(spec.id, 100, new AbortController().signal);
      await wait(1000);
      assert.deepEqual(await asked(handlers, 'machine.reboot', { id: spec.id, force }), { power: 'On' });
      assert.equal(await seen, true, 'libvirt tells of a reboot');
      await until(`the guest boots again, ${force ? 'forced' : 'asked'}`, async () => (await spoken()) === before + 1);
    }
    assert.equal(await spoken(), spokenBefore + 2);

    // OV-02: the agent goes and comes back; the guest does not notice, and the agent knows everything again.
    await host.close();
    assert.equal((await taps()).length, before.taps.length + 2);
    await run('empty the rules', 'nft', ['delete', 'table', 'bridge', 'nephos']);
    host = await open();
    handlers = hostHandlers(host);
    await host.restore();
    host.watch(() => {
      changes += 1;
    });
    assert.deepEqual(await asked(handlers, 'machine.list', {}), { machines: [{ id: spec.id, name: spec.name, power: 'On' }] });
    assert.equal(await rules(), guarded);
    assert.deepEqual(await asked(handlers, 'machine.start', { spec }), started);

    // A network that is wanted no longer stays for as long as a machine is in it.
    await asked(handlers, 'host.applyNetworks', { ...networks, generation: 3, networks: [] });
    assert.ok((await readLinks()).some(({ name }) => name === `brvx-${vni}`));

    await wait(300);
    const changesBefore = changes;
    const stopBegun = performance.now();
    assert.deepEqual(await asked(handlers, 'machine.stop', { id: spec.id, force: false, graceSeconds: 2 }), { power: 'Off' });
    const stopMilliseconds = Math.round(performance.now() - stopBegun);
    assert.deepEqual(await asked(handlers, 'machine.stop', { id: spec.id, force: true, graceSeconds: 0 }), { power: 'Off' });
    await until('the bell', async () => changes > changesBefore);
    await until('the network is gone', async () => !(await readLinks()).some(({ name }) => name.endsWith(String(vni))));
    assert.deepEqual(await taps(), before.taps);
    assert.ok(!(await rules()).includes(tapDevice(guestNic)));
    assert.ok((await host.machines.serialLog(spec.id)).includes('Nephos guest speaks'));

    for (let twice = 0; twice < 2; twice += 1) await asked(handlers, 'volume.remove', { poolId: pool.id, volumeId });
    assert.deepEqual(await readdir(join(pool.path, 'volumes')), []);
    for (let twice = 0; twice < 2; twice += 1) await asked(handlers, 'pool.removeImage', { poolId: pool.id, imageId });
    for (let twice = 0; twice < 2; twice += 1) await asked(handlers, 'pool.detach', { poolId: pool.id });
    assert.deepEqual(await readdir(join(stateDirectory, 'documents')), []);
    return { description, startMilliseconds, stopMilliseconds };
  } finally {
    await host.machines.stop(machineId, { force: true, graceSeconds: 0 });
    await host.close();
    for (const name of ['brvx-', 'vxlan']) await attempt('ip', ['link', 'delete', 'dev', `${name}${vni}`]);
    if (!before.links.includes('cloud0')) await attempt('ip', ['link', 'delete', 'dev', 'cloud0']);
    await rm(room, { recursive: true, force: true });
  }
}

async function greeting(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port }, () => {});
    socket.setTimeout(5000, () => socket.destroy());
    socket.once('data', (chunk) => {
      resolve(chunk.toString('latin1'));
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

async function until(what: string, isSo: () => Promise<boolean>, seconds = 15): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!(await isSo())) {
    assert.ok(performance.now() < end, `not within ${seconds} s: ${what}`);
    await wait(200);
  }
}

const file = fileURLToPath(import.meta.url);
if (process.argv[1] === file && process.argv[2] === 'here') {
  process.stdout.write(`${JSON.stringify(await tryAgentOnHost(), null, 2)}\n`);
} else if (process.argv[1] === file) {
  test('OV-01 OV-02 a machine lives its life on a real host, through a restart of the agent, and leaves nothing', async (context) => {
    const host = await openScratchHost();
    try {
      const argv = [process.execPath, '--import', import.meta.resolve('tsx'), file, 'here'];
      const { code, stdout, stderr } = await host.exec(argv, { timeoutSeconds: 180 });
      assert.equal(code, 0, stderr);
      context.diagnostic(stdout);
    } finally {
      await host.close();
    }
  });
}
