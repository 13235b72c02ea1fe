/** Guests at the edges: two who want different things of one machine, hosts that fail, networks that come and go, and what lists show. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ApiError, eventually, type Params, type Reply } from '../../lab/client.ts';
import { networks } from '../../management/network/index.ts';
import { shutdownNetworkSaga } from '../../management/systemvm/sagas/shutdown-network.ts';
import { expungeVmSaga } from '../../management/vm/sagas/expunge-vm.ts';
import { CloudError } from '../../protocol/errors.ts';
import { startZone, type Zone } from './zone.ts';

type Failure = (hostId: string, message: string, ask: unknown) => CloudError | null;
/** What hosts refuse now; nothing between the tests. */
let failure: Failure = () => null;

test('guests at the edges, in a simulated cloud', { timeout: 170_000 }, async (t) => {
  const zone = await startZone({ failure: (...given) => failure(...given) });
  t.after(() => zone.cloud.close());
  const steps: [string, (zone: Zone) => Promise<void>][] = [
    ['a guest that was recovered is not expunged by a job from before', recovered],
    ['an expunging that failed is taken up again', expungedLater],
    ['a network in use again is not shut down by a job from before', usedAgain],
    ['a shutdown that failed is taken up again, and the network works', shutDownLater],
    ['hosts that fail are not taken for hosts that are full', failingHosts],
    ['what is full is told without names of hosts', fullHosts],
    ['nobody deploys into a network that is being deleted', deletedNetwork],
    ['of two deployments of one name at once, one is refused', twins],
  ];
  for (const [title, step] of steps) {
    await t.test(title, async () => {
      failure = () => null;
      await step(zone);
      failure = () => null;
      await zone.holds();
    });
  }
});

const refusal = async (running: Promise<unknown>): Promise<ApiError> =>
  running.then(
    () => assert.fail('it was not refused'),
    (error: ApiError) => error,
  );
const jobOf = (zone: Zone) => zone.cloud.management.services.jobs;

async function withGuest(zone: Zone, name: string, work: (vm: Reply, network: Reply) => Promise<void>, params: Params = {}) {
  const network = await zone.network(name);
  const vm = await zone.deploy({ networkids: network.id, name: `${name}-1`, ...params });
  await work(vm, network);
  if (await zone.vm(vm.id)) await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  await zone.run('deleteNetwork', { id: network.id });
}

const recovered = (zone: Zone) =>
  withGuest(zone, 'recovered', async ({ id }) => {
    await zone.run('destroyVirtualMachine', { id });
    await zone.call('recoverVirtualMachine', { id });
    const job = await jobOf(zone).start(expungeVmSaga, { id }, { requestId: 'test' });
    const { state, error } = await jobOf(zone).finished(job.jobId, 20_000);
    assert.equal(state, 'Failed');
    assert.equal((error as Reply)?.code, 'WrongState');
    assert.equal((await zone.vm(id)).state, 'Stopped');
    assert.equal((await zone.run('startVirtualMachine', { id })).virtualmachine.state, 'Running');
  });

const expungedLater = (zone: Zone) =>
  withGuest(zone, 'late', async ({ id }) => {
    failure = (_host, message) => (message === 'volume.remove' ? new CloudError('ResourceUnavailable', 'the disk is away') : null);
    await refusal(zone.run('destroyVirtualMachine', { id, expunge: true }));
    assert.equal((await zone.vm(id)).state, 'Expunging');
    failure = () => null;
    await zone.cloud.management.services.db.rows('UPDATE job SET completed_at = ? WHERE instance_id = ? AND state = ?', [
      new Date(Date.now() - 3_600_000),
      id,
      'Failed',
    ]);
    await zone.settings({ 'expunge.interval': '1' });
    await eventually('the guest is gone', async () => (await zone.vm(id)) === undefined, { timeoutSeconds: 15 });
    await zone.settings({ 'expunge.interval': '86400' });
  });

const usedAgain = (zone: Zone) =>
  withGuest(zone, 'busy', async ({ id }, { id: networkId }) => {
    const job = await jobOf(zone).start(shutdownNetworkSaga, { networkId }, { requestId: 'test' });
    await jobOf(zone).finished(job.jobId, 20_000);
    assert.equal((await zone.list('listNetworks', { id: networkId }))[0].state, 'Implemented');
    // Also before the guest that wants it has come so far as to count.
    await zone.run('stopVirtualMachine', { id });
    const { db } = zone.cloud.management.services;
    await db.read.update(networks, { id: networkId }, { idleSince: new Date(0) });
    assert.equal((await zone.run('startVirtualMachine', { id })).virtualmachine.state, 'Running');
    const again = await jobOf(zone).start(shutdownNetworkSaga, { networkId }, { requestId: 'test' });
    await jobOf(zone).finished(again.jobId, 20_000);
    assert.equal((await zone.list('listNetworks', { id: networkId }))[0].state, 'Implemented');
    assert.equal((await db.read.findOneByOrFail(networks, { id: networkId })).idleSince, null, 'a start ends the idle time');
  });

async function shutDownLater(zone: Zone) {
  await withGuest(zone, 'halfway', async ({ id }, network) => {
    await zone.run('stopVirtualMachine', { id });
    failure = (_host, message) => (message === 'machine.stop' ? new CloudError('ResourceUnavailable', 'it does not stop') : null);
    await zone.settings({ 'network.gc.interval': '1', 'network.gc.wait': '1' });
    const state = async () => (await zone.list('listNetworks', { id: network.id }))[0].state;
    await eventually('the shutdown has failed', async () => {
      const failed = await zone.cloud.db.rows(
        `SELECT 1 FROM job WHERE saga = 'network.shutdown' AND state = 'Failed' AND instance_id = ?`,
        [network.id],
      );
      return failed.length > 0 && (await state()) === 'Shutdown';
    });
    failure = () => null;
    await zone.settings({ 'network.gc.interval': '600', 'network.gc.wait': '600' });
    // A guest that starts meanwhile waits for it.
    assert.equal((await zone.run('startVirtualMachine', { id })).virtualmachine.state, 'Running');
    assert.equal(await state(), 'Implemented');
  });
}

async function failingHosts(zone: Zone) {
  const network = await zone.network('broken');
  failure = (_host, message, ask) =>
    message === 'machine.start' && (ask as Reply).spec.kind === 'guest'
      ? new CloudError('ResourceUnavailable', 'the host could not start the machine')
      : null;
  const error = await refusal(zone.deploy({ networkids: network.id, name: 'broken-1' }));
  assert.equal(error.status, 530, error.message);
  assert.match(error.body.errortext, /could not start the machine/);
  assert.doesNotMatch(error.body.errortext, /c[01]-h\d/, 'a tenant does not read names of hosts');
  const [vm] = await zone.list('listVirtualMachines', { name: 'broken-1', listall: true });
  assert.equal(vm.state, 'Error');
  const alerts = await zone.list('listAlerts', { type: 8 });
  assert.match(alerts[0]?.description ?? '', new RegExp(`${vm.instancename}.*c[01]-h\\d`));
  assert.deepEqual(await zone.cloud.db.rows('SELECT * FROM reservation WHERE machine_id = ?', [vm.id]), []);
  failure = () => null;
  await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  await zone.run('deleteNetwork', { id: network.id });
}

async function fullHosts(zone: Zone) {
  const network = await zone.network('packed');
  const { serviceoffering } = await zone.call('createServiceOffering', {
    name: 'Vast',
    displaytext: 'Vast',
    cpunumber: 1,
    cpuspeed: 500,
    memory: 2_000_000,
  });
  const error = await refusal(zone.deploy({ networkids: network.id, name: 'packed-1', serviceofferingid: serviceoffering.id }));
  assert.equal(error.status, 533);
  assert.match(error.body.errortext, /MiB of memory left and 2000000 are wanted/);
  assert.doesNotMatch(error.body.errortext, /c[01]-h\d/);
  const [vm] = await zone.list('listVirtualMachines', { name: 'packed-1' });
  await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  await zone.run('deleteNetwork', { id: network.id });
  await zone.call('deleteServiceOffering', { id: serviceoffering.id });
}

async function deletedNetwork(zone: Zone) {
  const network = await zone.network('doomed');
  const both = await Promise.allSettled([
    zone.run('deleteNetwork', { id: network.id }),
    ...Array.from({ length: 6 }, (_, i) => zone.deploy({ networkids: network.id, name: `doomed-${i}`, startvm: false })),
  ]);
  const left = await zone.cloud.db.rows(
    `SELECT c.id FROM nic c JOIN network n ON n.id = c.network_id WHERE c.removed_at IS NULL AND n.removed_at IS NOT NULL AND n.id = ?`,
    [network.id],
  );
  assert.deepEqual(left, [], JSON.stringify(both.map(({ status }) => status)));
  for (const vm of await zone.list('listVirtualMachines', { keyword: 'doomed-' }))
    await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  if ((await zone.list('listNetworks', { id: network.id })).length > 0) await zone.run('deleteNetwork', { id: network.id });
}

async function twins(zone: Zone) {
  const network = await zone.network('twins');
  const both = await Promise.allSettled(
    Array.from({ length: 4 }, () => zone.deploy({ networkids: network.id, name: 'twin', startvm: false })),
  );
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected', 'rejected']);
  for (const vm of await zone.list('listVirtualMachines', { networkid: network.id }))
    await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  await zone.run('deleteNetwork', { id: network.id });
}
