/** What the cloud mends by itself, and what it only tells: lost system VMs, guests that stop, hosts whose link goes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, type Reply } from '../../lab/client.ts';
import { startZone, type Zone } from './zone.ts';

/** Well below the time after which a system VM without a link counts as dead. */
const BEAT_MS = 400;

test('a simulated cloud mends itself', { timeout: 150_000 }, async (t) => {
  const zone = await startZone({ beatMs: BEAT_MS });
  t.after(() => zone.cloud.close());
  const steps: [string, (zone: Zone) => Promise<void>][] = [
    ['a destroyed router has a successor that is told everything', router],
    ['a router that dies by itself has a successor too', deadRouter],
    ['a destroyed console proxy or secondary storage VM has a successor with another identity', systemVms],
    ['a stopped router stays stopped until it is started', stoppedRouter],
    ['a guest that shuts itself down is Stopped, and starts again', powerOff],
    ['a machine that should not run on a host is stopped there', stray],
    ['a host whose cable is cut is in Alert, not Down, and comes back', () => lostLink(zone, 'cut', 'Alert')],
    ['a host that goes silent is in Alert after three missed beats, and comes back', () => lostLink(zone, 'mute', 'Alert')],
    ['a host whose agent is stopped is Disconnected, and comes back', () => lostLink(zone, 'goodbye', 'Disconnected')],
    ['nothing is placed on a host without a link', awayHost],
  ];
  for (const [title, step] of steps) {
    await t.test(title, async () => {
      await step(zone);
      await zone.holds();
    });
  }
});

const configurationOf = ({ cloud }: Zone, routerId: string) => {
  const { generation: _, ...rest } = cloud.systemVms.get(routerId)?.configuration() ?? { generation: 0 };
  return rest;
};

async function withGuest(zone: Zone, name: string, work: (vm: Reply, network: Reply) => Promise<void>): Promise<void> {
  const network = await zone.network(name);
  const vm = await zone.deploy({ networkids: network.id, name: `${name}-1` });
  await work(vm, network);
  await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  await zone.run('deleteNetwork', { id: network.id });
}

const successor = ({ list }: Zone, networkid: string, before: string) =>
  eventually('another router runs', async () => {
    const routers = await list('listRouters', { networkid });
    return routers.length === 1 && routers[0].id !== before && routers[0].state === 'Running' ? routers[0] : null;
  });

const router = (zone: Zone) =>
  withGuest(zone, 'router', async (vm, network) => {
    const [first] = await zone.list('listRouters', { networkid: network.id });
    const before = configurationOf(zone, first.id);
    const { router: gone } = await zone.run('destroyRouter', { id: first.id });
    assert.equal(gone.id, first.id);
    const second = await successor(zone, network.id, first.id);
    assert.notEqual(second.name, first.name);
    assert.equal(second.publicip, first.publicip);
    assert.deepEqual(configurationOf(zone, second.id), before, 'the successor is told the same');
    assert.deepEqual(await zone.list('listRouters', { id: first.id }), [], 'what is destroyed is gone');
    assert.equal((await zone.vm(vm.id)).ipaddress, vm.ipaddress);
  });

const deadRouter = (zone: Zone) =>
  withGuest(zone, 'dead', async (_vm, network) => {
    const [first] = await zone.list('listRouters', { networkid: network.id });
    zone.cloud.hosts.get(first.hostid)?.powerOff(first.id);
    const second = await successor(zone, network.id, first.id);
    assert.equal(second.publicip, first.publicip);
  });

async function systemVms(zone: Zone) {
  const before = await zone.list('listSystemVms');
  for (const { id } of before) await zone.run('destroySystemVm', { id });
  const after = await eventually('both have successors', async () => {
    const found = await zone.list('listSystemVms');
    return found.length === 2 && found.every(({ state, agentstate }) => state === 'Running' && agentstate === 'Up') ? found : null;
  });
  const used = new Set(before.flatMap(({ id, name, linklocalmacaddress }) => [id, name, linklocalmacaddress]));
  for (const { id, name, linklocalmacaddress } of after)
    for (const identity of [id, name, linklocalmacaddress]) assert.ok(!used.has(identity), `${identity} is used again`);
}

const stoppedRouter = (zone: Zone) =>
  withGuest(zone, 'halt', async (_vm, network) => {
    const [{ id }] = await zone.list('listRouters', { networkid: network.id });
    assert.equal((await zone.run('stopRouter', { id })).router.state, 'Stopped');
    for (const name of ['systemVm.dead', 'systemVm.routers']) await zone.cloud.management.reconciliation.runOnce(name);
    const [still] = await zone.list('listRouters', { networkid: network.id });
    assert.deepEqual([still.id, still.state], [id, 'Stopped']);
    assert.equal((await zone.run('startRouter', { id })).router.state, 'Running');
    assert.equal((await zone.run('rebootRouter', { id })).router.state, 'Running');
  });

const powerOff = (zone: Zone) =>
  withGuest(zone, 'off', async (vm) => {
    zone.cloud.hosts.get(vm.hostid)?.powerOff(vm.id);
    await eventually('the guest is Stopped', async () => (await zone.vm(vm.id)).state === 'Stopped', { timeoutSeconds: 5 });
    await zone.holds();
    assert.equal((await zone.run('startVirtualMachine', { id: vm.id })).virtualmachine.state, 'Running');
  });

const stray = (zone: Zone) =>
  withGuest(zone, 'stray', async (vm) => {
    const { hosts } = zone.cloud;
    const here = hosts.get(vm.hostid);
    const spec = here?.specOf(vm.id);
    const other = [...hosts.values()].find(({ id }) => id !== vm.hostid);
    assert.ok(spec && other);
    // It needs nothing of the other host to be there.
    await other.machines.start({ ...spec, disks: [], nics: [] });
    await zone.cloud.management.reconciliation.runOnce('machine.power');
    await eventually('the second of it is stopped', async () => other.specOf(vm.id) === null);
    assert.ok(here?.specOf(vm.id), 'the one that should run goes on');
  });

async function lostLink(zone: Zone, how: 'cut' | 'mute' | 'goodbye', expected: string) {
  await withGuest(zone, how, async (vm) => {
    const host = vm.hostid;
    const state = async () => (await zone.list('listHosts', { id: host }))[0].state;
    await zone.cloud.cutHost(host, how);
    await eventually(`the host is in ${expected}`, async () => (await state()) === expected, { timeoutSeconds: 8 });
    await new Promise((resolve) => setTimeout(resolve, 4 * BEAT_MS));
    assert.equal(await state(), expected, 'a lost link is no proof that the host is down');
    assert.equal((await zone.vm(vm.id)).state, 'Running', 'its guests are taken to run on');
    // What happens on it meanwhile is learnt when it is back.
    zone.cloud.hosts.get(host)?.powerOff(vm.id);
    zone.cloud.mendHost(host);
    await eventually('the host is Up', async () => (await state()) === 'Up', { timeoutSeconds: 15 });
    await eventually('the guest is Stopped', async () => (await zone.vm(vm.id)).state === 'Stopped', { timeoutSeconds: 5 });
  });
}

async function awayHost(zone: Zone) {
  const hosts = await zone.list('listHosts', { type: 'Routing' });
  const busy = new Set((await zone.list('listSystemVms')).map(({ hostid }) => hostid));
  const away = hosts.find(({ id }) => !busy.has(id));
  assert.ok(away);
  const { cloud } = zone;
  await cloud.cutHost(away.id);
  await eventually('the host is in Alert', async () => (await zone.list('listHosts', { id: away.id }))[0].state === 'Alert');
  const network = await zone.network('away');
  const vms = await Promise.all(['away-1', 'away-2', 'away-3', 'away-4'].map((name) => zone.deploy({ networkids: network.id, name })));
  for (const { hostid } of vms) assert.notEqual(hostid, away.id);
  assert.deepEqual(await cloud.hosts.get(away.id)?.machines.list(), []);
  for (const { id } of vms) await zone.run('destroyVirtualMachine', { id, expunge: true });
  await zone.run('deleteNetwork', { id: network.id });
  cloud.mendHost(away.id);
  await eventually('the host is Up', async () => (await zone.list('listHosts', { id: away.id }))[0].state === 'Up', { timeoutSeconds: 15 });
}
