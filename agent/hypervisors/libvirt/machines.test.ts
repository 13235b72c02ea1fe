import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { createLog } from '../../../protocol/log.ts';
import type { MachineSpec } from '../../../protocol/messages/machine.ts';
import type { Id } from '../../../protocol/schema.ts';
import { antiSpoofing } from '../../networking/anti-spoofing.ts';
import { libvirtMachines } from './machines.ts';
import { type MachineRecord, nicsOf } from './metadata.ts';
import { serialLogs } from './serial-logs.ts';
import type { Virsh } from './virsh.ts';

const room = await mkdtemp(join(tmpdir(), 'nephos-machines-'));
after(() => rm(room, { recursive: true, force: true }));

const spec = (): MachineSpec => ({
  id: newId('machine'),
  name: 'i-2-3-VM',
  kind: 'guest',
  cpuCount: 1,
  cpuMhz: 500,
  memoryMib: 64,
  boot: { kind: 'disk' },
  disks: [],
  iso: null,
  nics: [
    {
      nicId: newId('nic'),
      device: 0,
      mac: '02:00:00:00:00:01',
      mtu: 1450,
      attachment: { kind: 'control' },
      addresses: ['10.1.1.5'],
      model: 'virtio',
    },
  ],
  vncPassword: 'abcdefgh',
  keyboard: 'en-us',
});

/** libvirt as far as these rules see it: a set of domains that is slow to change. */
function world({ failCreate = false, heedsButton = true }: { failCreate?: boolean; heedsButton?: boolean } = {}) {
  const domains = new Map<Id<'machine'>, { name: string; record: MachineRecord | null }>();
  const calls: string[] = [];
  const rulesets: string[] = [];
  let next: MachineSpec | null = null;
  const gone = async (verb: string, id: Id<'machine'>): Promise<boolean> => {
    calls.push(verb);
    await wait(5);
    return domains.delete(id);
  };
  const virsh: Virsh = {
    running: async () => new Map([...domains].map(([id, { name }]) => [id, name])),
    record: async (id) => domains.get(id)?.record ?? null,
    create: async () => {
      calls.push('create');
      await wait(20);
      if (failCreate) throw new CloudError('ResourceUnavailable', 'the host could not start the machine');
      assert.ok(next);
      domains.set(next.id, { name: next.name, record: { kind: 'guest', nics: nicsOf(next), disks: [], isoPoolId: null } });
    },
    tries: async () => true,
    pressPowerButton: async () => {
      calls.push('press');
      return true;
    },
    reboot: async () => true,
    reset: async () => {
      calls.push('reset');
      return true;
    },
    untilReboot: async (_id, seconds, signal) => {
      if (heedsButton) return true;
      await wait(seconds * 1000, undefined, { signal }).catch(() => undefined);
      return false;
    },
    destroy: (id) => gone('destroy', id),
    vncDisplay: async (id) => (domains.has(id) ? { address: '198.18.0.11', port: 5907 } : null),
    updateDevice: async (doing) => {
      calls.push(doing);
    },
    versions: async () => ({ libvirt: '', qemu: '' }),
  };
  const machines = libvirtMachines({
    virsh,
    pools: { disk: async () => assert.fail(), iso: async () => assert.fail() },
    bootFiles: { path: async () => assert.fail() },
    antiSpoofing: antiSpoofing(async (ruleset) => {
      rulesets.push(ruleset);
    }),
    serialLogs: serialLogs(room),
    surroundings: async () => ({ accelerator: 'qemu', vncListenAddress: '198.18.0.11', cpuShares: false, qemuOwner: null }),
    checkNetworks: async () => {},
    rebootGraceSeconds: 2,
    log: createLog('test', { level: 'silent' }),
  });
  const start = (wanted: MachineSpec) => {
    next = wanted;
    return machines.start(wanted);
  };
  return { domains, calls, rulesets, machines, start };
}

test('a start that arrives twice at once starts one machine and gives one answer', async () => {
  const { start, calls, rulesets } = world();
  const wanted = spec();
  const answers = await Promise.all([start(wanted), start(wanted)]);
  assert.deepEqual(answers[0], { power: 'On', vncPort: 5907 });
  assert.deepEqual(answers[1], answers[0]);
  assert.deepEqual(calls, ['create', 'give the console its password']);
  assert.equal(rulesets.length, 1);
  assert.match(rulesets[0] ?? '', /10\.1\.1\.5/);
});

test('a start that failed leaves nothing: the half-made domain goes, and so do its rules', async () => {
  const { start, calls, rulesets, machines } = world({ failCreate: true });
  await assert.rejects(start(spec()), { code: 'ResourceUnavailable' });
  assert.deepEqual(calls, ['create', 'destroy']);
  await machines.refresh();
  assert.ok(!rulesets.at(-1)?.includes('10.1.1.5'));
});

test('an absent machine is Off, however it is asked to stop', async () => {
  const { machines, calls } = world();
  for (const force of [true, false]) assert.equal(await machines.stop(newId('machine'), { force, graceSeconds: 50 }), 'Off');
  assert.deepEqual(calls, []);
});

test('a gentle stop presses the button and pulls the plug after the grace; a forced one cuts the grace short', async () => {
  const { start, machines, calls } = world();
  const wanted = spec();
  await start(wanted);
  await machines.stop(wanted.id, { force: false, graceSeconds: 1 });
  assert.deepEqual(calls, ['create', 'press', 'destroy']);

  await start(wanted);
  const begun = performance.now();
  const gentle = machines.stop(wanted.id, { force: false, graceSeconds: 60 });
  await wait(50);
  const forced = machines.stop(wanted.id, { force: true, graceSeconds: 0 });
  assert.deepEqual(await Promise.all([gentle, forced]), ['Off', 'Off']);
  assert.ok(performance.now() - begun < 5000);
});

test('a guest that heeds its power button reboots by itself; one that does not is reset, and a forced stop waits for neither', async () => {
  const [good, deaf] = [world(), world({ heedsButton: false })];
  const wanted = spec();
  await good.start(wanted);
  assert.equal(await good.machines.reboot(wanted.id, { force: false }), 'On');
  assert.deepEqual(good.calls, ['create']);
  await deaf.start(wanted);
  assert.equal(await deaf.machines.reboot(wanted.id, { force: false }), 'On');
  assert.deepEqual(deaf.calls, ['create', 'reset']);
  const begun = performance.now();
  const rebooting = deaf.machines.reboot(wanted.id, { force: false });
  await wait(50);
  assert.equal(await deaf.machines.stop(wanted.id, { force: true, graceSeconds: 0 }), 'Off');
  await rebooting;
  assert.deepEqual(deaf.calls, ['create', 'reset', 'destroy']);
  assert.ok(performance.now() - begun < 1800);
});

test('domains of others are neither listed nor guarded', async () => {
  const { domains, machines, rulesets } = world();
  domains.set(newId('machine'), { name: 'somebody-elses', record: null });
  assert.deepEqual(await machines.list(), []);
  await machines.refresh();
  assert.ok(!rulesets.join('').includes('somebody'));
});

test('what a machine said is forgotten when it is gone, and never while it runs', async () => {
  const { start, machines } = world();
  const wanted = spec();
  await start(wanted);
  await writeFile(join(room, `${wanted.id}.log`), 'a secret\n');
  assert.ok(!(await machines.remains()).includes(wanted.id));
  await machines.forget([wanted.id]);
  assert.equal(await machines.serialLog(wanted.id), 'a secret\n');
  await machines.stop(wanted.id, { force: true, graceSeconds: 0 });
  assert.ok((await machines.remains()).includes(wanted.id));
  await machines.forget([wanted.id, wanted.id, newId('machine')]);
  assert.equal(await machines.serialLog(wanted.id), '');
  assert.ok(!(await machines.remains()).includes(wanted.id));
});
