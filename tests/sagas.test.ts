/** Every registered saga, at each of its steps, on the real database with simulated hosts. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { eventually } from '../lab/client.ts';
import { createScratchDatabase, type ScratchDatabase } from '../lab/services.ts';
import { asSagas } from '../management/core/area.ts';
import type { Tx } from '../management/core/db.ts';
import { type AnySaga, execute, saga } from '../management/core/saga.ts';
import { createSystemVm } from '../management/systemvm/create.ts';
import { shutdownNetworkSaga } from '../management/systemvm/sagas/shutdown-network.ts';
import { CloudError } from '../protocol/errors.ts';
import { type Id, s } from '../protocol/schema.ts';
import { startCloud } from './cloud/cloud.ts';
import { takeOver, type World } from './cloud/in-process.ts';
import { ensureSimulatorZone, simulatorPlan } from './cloud/simulator-zone.ts';
import { holdsForEveryStep, newJob, type SagaCase } from './saga-properties.ts';

let world: World;
let scratch: ScratchDatabase;
let directory: string;
let ids: Awaited<ReturnType<typeof furnish>>;

before(
  async () => {
    directory = await mkdtemp(join(tmpdir(), 'nephos-sagas-'));
    scratch = await createScratchDatabase();
    const cloud = await startCloud({ services: scratch, varDirectory: directory, beatMs: 500 });
    try {
      ids = await furnish(cloud);
    } catch (error) {
      await cloud.close();
      throw error;
    }
    world = await takeOver(cloud, scratch, cloud.management.services.config);
  },
  { timeout: 90_000 },
);
after(async () => {
  await world?.close();
  await scratch?.drop();
  if (directory) await rm(directory, { recursive: true, force: true });
});

/** Things in every state in which a saga may find them. */
async function furnish(cloud: Awaited<ReturnType<typeof startCloud>>) {
  const { admin, management } = cloud;
  const plan = simulatorPlan(0, 2);
  const small = { gateway: '192.168.2.1', netmask: '255.255.255.0', startIp: '192.168.2.2', endIp: '192.168.2.30' };
  const { zoneId, templateId, serviceOfferingId, networkOfferingId } = await ensureSimulatorZone(admin, {
    ...plan,
    pod: { ...plan.pod, endIp: '172.16.15.30' },
    publicRange: small,
    labels: { ...plan.labels, storage: 'cloudbr2' },
    storageRange: { gateway: '172.17.0.1', netmask: '255.255.255.0', startIp: '172.17.0.2', endIp: '172.17.0.20' },
  });
  const network = async (name: string): Promise<string> =>
    (await admin.call('createNetwork', { zoneid: zoneId, networkofferingid: networkOfferingId, name, displaytext: name })).network.id;
  const deploy = async (networkids: string, name: string, startvm = true): Promise<string> => {
    const params = { zoneid: zoneId, templateid: templateId, serviceofferingid: serviceOfferingId, networkids, name, startvm };
    return (await admin.run('deployVirtualMachine', params)).virtualmachine.id;
  };
  const [used, bare, idle, halted] = [await network('used'), await network('bare'), await network('idle'), await network('halted')];
  const running = await deploy(used, 'running');
  const stopped = await deploy(used, 'stopped');
  await admin.run('stopVirtualMachine', { id: stopped });
  const destroyed = await deploy(used, 'destroyed');
  await admin.run('destroyVirtualMachine', { id: destroyed });
  const fresh = await deploy(used, 'fresh', false);
  const holding = await deploy(used, 'holding');
  const lonely = await deploy(bare, 'lonely', false);
  await admin.run('destroyVirtualMachine', { id: await deploy(idle, 'passing'), expunge: true });
  await deploy(halted, 'served');
  const routerOf = async (networkid: string): Promise<string> => (await admin.list('listRouters', { networkid }))[0].id;
  const [router, haltedRouter] = [await routerOf(used), await routerOf(halted)];
  await admin.run('stopRouter', { id: haltedRouter });

  const { iso } = await admin.call('registerIso', {
    name: 'disc',
    displaytext: 'disc',
    url: 'http://images.simulated.example/disc.iso',
    zoneid: zoneId,
    bootable: false,
  });
  await eventually('the ISO is there', async () => (await admin.list('listIsos', { id: iso[0].id }))[0]?.isready);
  await admin.run('attachIso', { id: iso[0].id, virtualmachineid: holding });

  const { template } = await admin.call('registerTemplate', {
    name: 'doomed',
    displaytext: 'doomed',
    url: 'http://images.simulated.example/doomed.qcow2',
    format: 'QCOW2',
    hypervisor: 'Simulator',
    zoneid: zoneId,
  });
  const [cluster] = await admin.list('listClusters', { zoneid: zoneId });
  const pool = {
    zoneid: zoneId,
    podid: cluster.podid,
    clusterid: cluster.id,
    name: 'spare',
    url: 'nfs://10.147.28.6/spare',
    scope: 'CLUSTER',
  };
  const { storagepool } = await admin.call('createStoragePool', { ...pool, hypervisor: 'Simulator' });
  await eventually(
    'the template is there',
    async () => (await admin.list('listTemplates', { templatefilter: 'all', id: template[0].id }))[0]?.isready,
  );

  const place = { zoneid: zoneId, podid: cluster.podid, clusterid: cluster.id, hypervisor: 'Simulator' };
  const added = await admin.call('addHost', { ...place, url: 'http://sim/c0/h9', username: 'root', password: 'password' });
  const { db } = management.services;
  await eventually(
    'all is at rest',
    async () => {
      const busy = await db.rows(`SELECT 1 FROM job WHERE state NOT IN ('Done', 'Failed')
        UNION ALL SELECT 1 FROM network n JOIN system_vm s ON s.network_id = n.id JOIN machine m ON m.id = s.id
          WHERE m.state = 'Running' AND n.applied_generation < n.configuration_generation`);
      return busy.length === 0;
    },
    { timeoutSeconds: 20 },
  );
  const one = async (sql: string, ...values: unknown[]): Promise<string> => {
    const [row] = await db.rows<{ id: string }>(sql, values);
    assert.ok(row, sql);
    return row.id;
  };
  return {
    zoneId: zoneId as Id<'zone'>,
    templateId,
    used: used as Id<'network'>,
    bare: bare as Id<'network'>,
    idle: idle as Id<'network'>,
    iso: iso[0].id as string,
    machines: { running, stopped, destroyed, fresh, lonely, holding },
    router,
    haltedRouter,
    consoleProxy: await one(`SELECT id FROM system_vm WHERE kind = 'console-proxy' AND removed_at IS NULL`),
    doomed: template[0].id as string,
    doomedImage: await one('SELECT id FROM stored_image WHERE template_id = ?', template[0].id),
    spare: storagepool.id as string,
    emptyHost: added.host[0].id as string,
    shown: {
      'infra.podShown': await one('SELECT id FROM pod'),
      'infra.hostShown': await one('SELECT id FROM host'),
      'infra.physicalNetworkShown': await one('SELECT id FROM physical_network'),
      'infra.trafficTypeShown': await one('SELECT id FROM traffic_type'),
      'infra.providerShown': await one('SELECT id FROM network_service_provider'),
      'infra.routerElementShown': await one(`SELECT id FROM network_service_provider WHERE name = 'VirtualRouter'`),
      'infra.storageRangeShown': await one(`SELECT id FROM ip_range WHERE kind = 'storage'`),
      'infra.removed': await one('SELECT id FROM zone'),
    },
  };
}

const sql = async ({ services }: World, statement: string, ...values: unknown[]) => void (await services.db.rows(statement, values));

/** Only what has been found idle is shut down. */
const idleSince = (at: World, networkId: Id<'network'>) => sql(at, 'UPDATE network SET idle_since = NOW(3) WHERE id = ?', networkId);

/** Garbage collection of a network that was made and is not used. */
async function shutdown(at: World, networkId: Id<'network'>): Promise<void> {
  const [network] = await at.services.db.rows<{ state: string }>('SELECT state FROM network WHERE id = ?', [networkId]);
  if (network?.state !== 'Implemented') return;
  await idleSince(at, networkId);
  const job = await newJob(at, shutdownNetworkSaga, { networkId });
  await execute(shutdownNetworkSaga, { services: at.services, job, pollMs: 1 });
}

/** Takes copies of templates from primary storage: all of them, or those that a case has brought there. */
async function forgetImages(at: World, which: 'all' | 'new'): Promise<void> {
  const { db } = at.services;
  for (const { id, poolId } of await db.rows<{ id: string; poolId: string }>('SELECT id, pool_id AS poolId FROM image_copy')) {
    if (which === 'new' && at.isOld('image_copy', id)) continue;
    await sql(
      at,
      'UPDATE storage_pool SET allocated_bytes = allocated_bytes - (SELECT size_bytes FROM image_copy WHERE id = ?) WHERE id = ?',
      id,
      poolId,
    );
    await sql(at, 'DELETE FROM image_copy WHERE id = ?', id);
  }
  const copies = await db.rows<{ poolId: string; templateId: string }>(
    'SELECT pool_id AS poolId, template_id AS templateId FROM image_copy',
  );
  for (const pools of at.storage.values())
    for (const [poolId, { images }] of pools)
      for (const imageId of images.keys())
        if (!copies.some((copy) => copy.poolId === poolId && copy.templateId === imageId)) images.delete(imageId);
}
/** Brought to a pool, an image is there for whoever needs it next. */
const forgetNewImages = (at: World) => forgetImages(at, 'new');

/** The first host that is to start a machine does not answer. */
function firstHostIsDead(at: World): void {
  let dead: string | null = null;
  at.onAsk = (to, message) => {
    if (message === 'machine.start') dead ??= to;
    if (to === dead && message !== 'host.applyNetworks') throw new CloudError('Unreachable', 'the host does not answer');
  };
}
const forgive = (at: World) => sql(at, 'DELETE FROM owed_ask');

const undone = 'undone' as const;
const repeatable = 'repeatable' as const;
type Case = Omit<SagaCase, 'saga' | 'title'> & { readonly title?: string };

/** By saga: the worlds in which it is tried. */
const cases: Record<string, () => readonly Case[]> = {
  'vm.deploy': () => {
    const marks = (at: World) => sql(at, `UPDATE machine SET state = 'Error' WHERE id = ?`, ids.machines.fresh);
    const begin = async () => ({ id: ids.machines.fresh, hostId: null, start: true });
    return [
      { begin, onFailure: undone, marks, cleans: forgetNewImages },
      {
        title: 'with the first machine of its image',
        begin: async (at) => {
          await forgetImages(at, 'all');
          return begin();
        },
        onFailure: undone,
        marks,
        cleans: (at) => forgetImages(at, 'all'),
      },
    ];
  },
  'vm.start': () => [
    { begin: async () => ({ id: ids.machines.stopped, hostId: null }), onFailure: undone },
    {
      title: 'when the first host does not answer',
      begin: async (at) => {
        firstHostIsDead(at);
        return { id: ids.machines.stopped, hostId: null };
      },
      onFailure: undone,
      cleans: forgive,
    },
    {
      title: 'in a network that is not there yet',
      begin: async () => ({ id: ids.machines.lonely, hostId: null }),
      onFailure: undone,
      cleans: async (at) => {
        await shutdown(at, ids.bare);
        await forgetNewImages(at);
      },
    },
  ],
  'vm.stop': () => [{ begin: async () => ({ id: ids.machines.running, force: false }), onFailure: repeatable }],
  'vm.reboot': () => [{ begin: async () => ({ id: ids.machines.running, force: true }), onFailure: undone }],
  'vm.destroy': () => [
    { begin: async () => ({ id: ids.machines.running, expunge: false }), onFailure: repeatable },
    { title: 'and expunge', begin: async () => ({ id: ids.machines.running, expunge: true }), onFailure: repeatable },
  ],
  'vm.expunge': () => [{ begin: async () => ({ id: ids.machines.destroyed }), onFailure: repeatable }],
  'vm.resetPassword': () => [{ begin: async () => ({ id: ids.machines.stopped, sealedPassword: null }), onFailure: repeatable }],
  'vm.changeIso': () => [
    {
      begin: async (at) => {
        await forgetImages(at, 'all');
        return { id: ids.machines.running, isoId: ids.iso };
      },
      onFailure: undone,
      cleans: (at) => forgetImages(at, 'all'),
    },
    {
      title: 'of a running guest, out of its drive',
      begin: async () => ({ id: ids.machines.holding, isoId: null }),
      onFailure: undone,
    },
    { title: 'of a stopped guest', begin: async () => ({ id: ids.machines.stopped, isoId: ids.iso }), onFailure: undone },
  ],
  'systemVm.start': () => [
    {
      title: 'of a new one',
      begin: async ({ services: { db } }) => ({
        id: await db.transact((tx) => createSystemVm(tx, { kind: 'console-proxy', zoneId: ids.zoneId, network: null })),
        isNew: true,
      }),
      onFailure: undone,
      marks: (at) => at.restore(),
    },
    { title: 'of a stopped one', begin: async () => ({ id: ids.haltedRouter, isNew: false }), onFailure: undone },
  ],
  'systemVm.stop': () => [{ begin: async () => ({ id: ids.router, force: true }), onFailure: repeatable }],
  'systemVm.reboot': () => [{ begin: async () => ({ id: ids.router, force: true }), onFailure: repeatable }],
  'systemVm.destroy': () => [{ begin: async () => ({ id: ids.consoleProxy }), onFailure: repeatable }],
  'network.restart': () => [
    { begin: async () => ({ networkId: ids.used, cleanup: false }), onFailure: undone },
    { title: 'with a new router', begin: async () => ({ networkId: ids.used, cleanup: true }), onFailure: repeatable },
  ],
  'network.shutdown': () => [
    {
      begin: async (at) => {
        await idleSince(at, ids.idle);
        return { networkId: ids.idle };
      },
      onFailure: repeatable,
    },
    { title: 'of one that is wanted again', begin: async () => ({ networkId: ids.used }), onFailure: undone },
  ],
  'network.delete': () => [{ begin: async () => ({ networkId: ids.idle }), onFailure: repeatable }],
  'storagePool.create': () => [
    {
      begin: async (at) => {
        await sql(at, 'DELETE FROM storage_pool_host WHERE pool_id = ?', ids.spare);
        await sql(at, `UPDATE storage_pool SET state = 'Initial', total_bytes = 0, used_bytes = 0 WHERE id = ?`, ids.spare);
        return { poolId: ids.spare };
      },
      onFailure: undone,
      marks: (at) => sql(at, 'UPDATE storage_pool SET removed_at = NOW(3) WHERE id = ?', ids.spare),
    },
  ],
  'storagePool.delete': () => [{ begin: async () => ({ poolId: ids.spare }), onFailure: repeatable }],
  'template.download': () => [
    {
      begin: async (at) => {
        await sql(at, `UPDATE stored_image SET state = 'NOT_DOWNLOADED', percent = 0 WHERE id = ?`, ids.doomedImage);
        return { storedImageId: ids.doomedImage, round: 0 };
      },
      onFailure: repeatable,
      tells: true,
      cleans: (at) => sql(at, 'DELETE FROM alert WHERE resource_id = ?', ids.doomed),
    },
  ],
  'template.delete': () => [{ begin: async () => ({ templateId: ids.doomed, zoneId: null }), onFailure: repeatable }],
  'host.prepareMaintenance': () => [
    {
      begin: async () => ({ hostId: ids.emptyHost, waitSeconds: 10 }),
      onFailure: undone,
      marks: (at) => sql(at, `UPDATE host SET resource_state = 'ErrorInPrepareForMaintenance' WHERE id = ?`, ids.emptyHost),
    },
  ],
  'host.reconnect': () => [{ begin: async () => ({ hostId: ids.emptyHost }), onFailure: undone }],
  ...Object.fromEntries(
    [
      'infra.podShown',
      'infra.hostShown',
      'infra.physicalNetworkShown',
      'infra.trafficTypeShown',
      'infra.providerShown',
      'infra.routerElementShown',
      'infra.storageRangeShown',
      'infra.removed',
    ].map((name) => [
      name,
      (): Case[] => [{ begin: async () => ({ id: Object.entries(ids.shown).find(([each]) => each === name)?.[1] }), onFailure: undone }],
    ]),
  ),
};

test('every registered saga has a world in which it is tried', () => {
  assert.deepEqual(world.sagas.map(({ name }) => name).sort(), Object.keys(cases).sort());
});

for (const [name, make] of Object.entries(cases)) {
  test(`${name} holds at every step`, { timeout: 120_000 }, async (t) => {
    // Among equals the choice of a host is random; here it must be the same each time.
    t.mock.method(Math, 'random', () => 0);
    const found: AnySaga | undefined = world.sagas.find((each) => each.name === name);
    assert.ok(found, `${name} is not registered any more`);
    for (const each of make()) {
      const started = performance.now();
      const title = each.title ? `${name} ${each.title}` : name;
      const { points, runs } = await holdsForEveryStep(world, { ...each, saga: found, title });
      t.diagnostic(`${title}: ${points} points, ${runs} runs, ${((performance.now() - started) / 1000).toFixed(1)} s`);
    }
  });
}

test('a saga that forgets an undo, or repeats what is not safe to repeat, is caught', { timeout: 60_000 }, async () => {
  const input = s.object({ id: s.id('machine') });
  const begin = async () => ({ id: ids.machines.stopped });
  const rename = (to: string) => async (tx: Tx, id: string) =>
    void (await tx.query('UPDATE machine SET instance_name = ? WHERE id = ?', [to, id]));
  const oneOf = (each: unknown): AnySaga => {
    const [one] = asSagas(each);
    assert.ok(one);
    return one;
  };
  const leaky = saga({
    name: 'test.leaky',
    version: 1,
    input,
    run: async (run, { id }) => {
      await run.step('rename', (tx) => rename('elsewhere')(tx, id));
      await run.step('end', async () => null);
    },
  });
  await assert.rejects(
    holdsForEveryStep(world, { title: 'leaky', saga: oneOf(leaky), begin, onFailure: 'undone' }),
    /failed before \/end and left something behind/,
  );
  let count = 0;
  const counting = saga({
    name: 'test.counting',
    version: 1,
    input,
    run: async (run, { id }) => {
      count += 1;
      await run.step('rename', (tx) => rename(`number-${count}`)(tx, id));
    },
  });
  await assert.rejects(holdsForEveryStep(world, { title: 'counting', saga: oneOf(counting), begin, onFailure: 'undone' }), /counting: /);
});
