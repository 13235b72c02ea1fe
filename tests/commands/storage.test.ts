import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, type Client, eventually, type Params, type Reply } from '../../lab/client.ts';
import { type AlertType, raiseAlert } from '../../management/core/events.ts';
import { volumes } from '../../management/storage/index.ts';
import { CloudError } from '../../protocol/errors.ts';
import { call } from '../../protocol/message.ts';
import { CreateVolume, ListPoolFiles, MeasurePool } from '../../protocol/messages/storage.ts';
import type { Id } from '../../protocol/schema.ts';
import { type Cloud, startCloud } from '../cloud/cloud.ts';
import { ensureSimulatorZone } from '../cloud/simulator-zone.ts';
import { addTenant } from './accounts.ts';

interface Zone {
  readonly zoneId: string;
  readonly templateId: string;
  readonly serviceOfferingId: string;
  readonly pod: Reply;
  readonly cluster: Reply;
}
/** What hosts refuse now, by the message's name. */
const refusals = new Map<string, (hostId: string, ask: unknown) => CloudError | null>();

test('primary and secondary storage and volumes through the API', { timeout: 240_000 }, async (t) => {
  const cloud = await startCloud({ failure: (hostId, message, ask) => refusals.get(message)?.(hostId, ask) ?? null });
  try {
    const { admin } = cloud;
    const [made, [pod]] = [await ensureSimulatorZone(admin), await admin.list('listPods')];
    const [cluster] = await admin.list('listClusters', { name: 'C0' });
    const zone: Zone = { ...made, pod, cluster };
    await t.test('what is wrong with a storage pool is said at the door', () => refused(admin, zone));
    await t.test('a pool that one host refuses leaves nothing behind', () => undone(cloud, zone));
    await t.test('a pool for the whole zone', () => zoneWide(cloud, zone));
    await t.test('a host that was away has the pools that were added, and not those that were removed', () => away(cloud, zone));
    await t.test('a host whose pool fails is up all the same, is not used for it, and gets it later', () => failing(cloud, zone));
    await t.test('tags and the state of a pool decide what goes there', () => tagged(cloud, zone));
    await t.test('a pool with volumes stays', () => occupied(cloud, zone));
    await t.test('image stores', () => stores(admin, zone));
    await t.test('nothing is put into a zone or cluster that is being removed', () => vanishing(cloud, zone));
    await t.test('who sees which volume', () => visibility(cloud, zone));
    await t.test('only files of volumes that are expunged for long are swept', () => swept(cloud, zone));
    await t.test('a pool nearly full raises an alert until it has room again', () => alerts(cloud));
    await t.test('what is removed leaves no alert that stays open for ever', () => resolved(cloud, zone));
  } finally {
    refusals.clear();
    await cloud.close();
  }
});

const poolOf = ({ zoneId, pod, cluster }: Zone, more: Params): Params => ({
  zoneid: zoneId,
  podid: pod.id,
  clusterid: cluster.id,
  scope: 'CLUSTER',
  name: 'extra',
  url: 'nfs://10.147.28.6/export/extra',
  ...more,
});
const create = async (admin: Client, zone: Zone, more: Params = {}): Promise<Reply> =>
  (await admin.call('createStoragePool', poolOf(zone, more))).storagepool;
/** For no volume of the cloud's own to come there meanwhile. */
const createUnused = async (admin: Client, zone: Zone, name: string): Promise<Reply> => {
  const pool = await create(admin, zone, { name, url: `nfs://10.147.28.6/export/${name}` });
  return (await admin.call('updateStoragePool', { id: pool.id, enabled: false })).storagepool;
};
const named = async (admin: Client, name: string): Promise<Reply[]> => admin.list('listStoragePools', { name });
/** Has the agent of this host this pool? It refuses to measure what it does not have. */
const hasPool = async ({ management }: Cloud, hostId: Id<'host'>, poolId: string): Promise<boolean> => {
  try {
    await management.services.agents.ask({ kind: 'host', id: hostId }, call(MeasurePool, { poolId: poolId as Id<'storagePool'> }), {
      requestId: 'test',
    });
    return true;
  } catch (error) {
    if (error instanceof CloudError && error.code === 'NotFound') return false;
    throw error;
  }
};
const hostsOf = async ({ admin }: Cloud, clusterid: string): Promise<Reply[]> => admin.list('listHosts', { type: 'Routing', clusterid });

async function refused(admin: Client, zone: Zone) {
  const wrong: [Params, RegExp][] = [
    [{ url: undefined }, /missing parameter url/],
    [{ name: ' ' }, /name of the storage pool is empty/],
    [{ url: 'rbd://10.147.28.6/pool' }, /storage of type rbd is not supported/],
    [{ url: 'nfs://10.147.28.6/export/../etc' }, /must be plain/],
    [{ url: 'Filesystem://localhost/var/pool' }, /a directory of one host alone/],
    [{ clusterid: undefined }, /scope CLUSTER needs clusterid/],
    [{ scope: 'ZONE' }, /scope ZONE goes without clusterid/],
    [{ scope: 'ZONE', clusterid: undefined, podid: undefined }, /scope ZONE needs hypervisor/],
    [{ scope: 'HOST' }, /scope; it must be one of CLUSTER, ZONE/],
    [{ zoneid: zone.pod.id }, /Invalid parameter zoneid/],
    [{ url: 'nfs://10.147.28.6/export/home/sandbox/primary0/' }, /PS0 is at .* already/],
  ];
  for (const [change, message] of wrong)
    await assert.rejects(admin.call('createStoragePool', poolOf(zone, change)), { status: 431, message }, JSON.stringify(change));
  assert.deepEqual(await named(admin, 'extra'), []);
}

async function undone(cloud: Cloud, zone: Zone) {
  const { admin, management } = cloud;
  const [first, second] = await hostsOf(cloud, zone.cluster.id);
  refusals.set('pool.attach', (hostId) =>
    hostId === second.id ? new CloudError('ResourceUnavailable', 'the export cannot be mounted') : null,
  );
  await assert.rejects(create(admin, zone), (error: unknown) => {
    assert.ok(error instanceof ApiError);
    assert.equal(error.status, 534);
    assert.match(error.message, new RegExp(`the host ${second.name} cannot use the storage pool: the export cannot be mounted`));
    return true;
  });
  refusals.clear();
  assert.deepEqual(await named(admin, 'extra'), []);
  const [row] = await management.services.db.rows<{ id: string; state: string }>("SELECT id, state FROM storage_pool WHERE name = 'extra'");
  assert.equal(row?.state, 'Initial');
  assert.equal(await hasPool(cloud, first.id, row?.id ?? ''), false, 'the host that had taken it has let go of it');
  const pool = await create(admin, zone);
  assert.equal(pool.state, 'Up');
  assert.equal(pool.disksizetotal, 1024 ** 4);
  for (const { id } of [first, second]) assert.equal(await hasPool(cloud, id, pool.id), true);
  await admin.call('deleteStoragePool', { id: pool.id });
  assert.deepEqual(await named(admin, 'extra'), []);
  for (const { id } of [first, second]) assert.equal(await hasPool(cloud, id, pool.id), false);
}

async function zoneWide(cloud: Cloud, zone: Zone) {
  const { admin } = cloud;
  const pool = await create(admin, zone, {
    name: 'wide',
    scope: 'ZONE',
    clusterid: undefined,
    podid: undefined,
    hypervisor: 'Simulator',
    url: 'nfs://10.147.28.6:/export/wide',
    tags: 'slow, big',
  });
  assert.equal(pool.scope, 'ZONE');
  assert.equal(pool.clusterid, undefined);
  assert.equal(pool.tags, 'slow,big');
  const hosts = await admin.list('listHosts', { type: 'Routing' });
  assert.equal(hosts.length, 4);
  for (const { id } of hosts) {
    assert.equal(await hasPool(cloud, id, pool.id), true);
    assert.ok((await admin.list('listStoragePools', { hostid: id })).some((each) => each.id === pool.id));
  }
  assert.deepEqual(
    (await admin.list('listStoragePools', { clusterid: zone.cluster.id })).map(({ name }) => name),
    ['PS0'],
  );
  assert.deepEqual(
    (await admin.list('listStoragePools', { scope: 'ZONE' })).map(({ id }) => id),
    [pool.id],
  );
  assert.deepEqual(
    (await admin.list('listStoragePools', { status: 'up', path: '/export/wide' })).map(({ id }) => id),
    [pool.id],
  );
  const { storagepool } = await admin.call('updateStoragePool', { id: pool.id, name: 'wider', tags: 'slow' });
  assert.equal(storagepool.name, 'wider');
  assert.equal(storagepool.tags, 'slow');
  await admin.call('deleteStoragePool', { id: pool.id });
}

async function away(cloud: Cloud, zone: Zone) {
  const { admin, management, hosts } = cloud;
  const [, host] = await hostsOf(cloud, zone.cluster.id);
  const old = await createUnused(admin, zone, 'old');
  assert.equal(await hasPool(cloud, host.id, old.id), true);
  await cloud.cutHost(host.id, 'goodbye');
  await eventually('the host is away', async () => (await admin.list('listHosts', { id: host.id }))[0]?.state !== 'Up');
  const fresh = await createUnused(admin, zone, 'fresh');
  await admin.call('deleteStoragePool', { id: old.id });
  assert.deepEqual(await named(admin, 'old'), []);
  assert.ok(hosts.has(host.id));
  cloud.mendHost(host.id);
  await eventually('the host is back', async () => (await admin.list('listHosts', { id: host.id }))[0]?.state === 'Up');
  assert.equal(await hasPool(cloud, host.id, fresh.id), true, 'it was told before it counted as up');
  await management.reconciliation.runOnce('storage.attach');
  assert.equal(await hasPool(cloud, host.id, old.id), false);
  await admin.call('deleteStoragePool', { id: fresh.id });
}

async function failing(cloud: Cloud, zone: Zone) {
  const { admin, management } = cloud;
  const { services } = management;
  const [first, second] = await hostsOf(cloud, zone.cluster.id);
  const pool = await createUnused(admin, zone, 'shaky');
  refusals.set('pool.attach', (hostId) => (hostId === second.id ? new CloudError('ResourceUnavailable', 'the file server is away') : null));
  await cloud.cutHost(second.id, 'goodbye');
  await eventually('away', async () => (await admin.list('listHosts', { id: second.id }))[0]?.state !== 'Up');
  cloud.mendHost(second.id);
  await eventually('up without its pools', async () => (await admin.list('listHosts', { id: second.id }))[0]?.state === 'Up');
  const [alert] = await admin.list('listAlerts', { type: 16 });
  assert.match(alert.description, /cannot use the storage pool/);
  const reach = () =>
    services.db.rows<{ host_id: string; error: string | null }>(
      'SELECT host_id, error FROM storage_pool_host WHERE pool_id = ? ORDER BY host_id',
      [pool.id],
    );
  assert.deepEqual(
    (await reach()).map(({ host_id: id, error }) => [id, error]),
    [
      [first.id, null],
      [second.id, 'the file server is away'],
    ].sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
  );
  refusals.clear();
  // A failed one is tried again, but not in the same minute.
  await services.db.rows('UPDATE storage_pool_host SET updated_at = ?', [new Date(Date.now() - 60_000)]);
  await management.reconciliation.runOnce('storage.attach');
  assert.deepEqual(
    (await reach()).map(({ error }) => error),
    [null, null],
  );
  assert.equal(await hasPool(cloud, second.id, pool.id), true);
  const [resolved] = await services.db.rows<{ n: string }>('SELECT COUNT(*) AS n FROM alert WHERE type = 16 AND resolved_at IS NULL');
  assert.equal(Number(resolved?.n), 0);
  await admin.call('deleteStoragePool', { id: pool.id });
}

async function deploy(admin: Client, { zoneId, templateId }: Zone, serviceofferingid: string, name: string): Promise<Reply> {
  return (await admin.run('deployVirtualMachine', { zoneid: zoneId, templateid: templateId, serviceofferingid, name })).virtualmachine;
}

async function tagged({ admin }: Cloud, zone: Zone) {
  const offering = async (name: string, tags: string) =>
    (await admin.call('createServiceOffering', { name, displaytext: name, cpunumber: 1, cpuspeed: 100, memory: 128, tags }))
      .serviceoffering;
  const fast = await offering('fast', 'fast');
  await assert.rejects(deploy(admin, zone, fast.id, 'nowhere'), { status: 533, message: /has the tags fast/ });
  const pool = await create(admin, zone, { name: 'quick', url: 'nfs://10.147.28.6/export/quick', tags: 'fast,ssd' });
  const vm = await deploy(admin, zone, fast.id, 'quick');
  const [volume] = await admin.list('listVolumes', { virtualmachineid: vm.id });
  assert.equal(volume.storage, 'quick');
  const { storagepool } = await admin.call('updateStoragePool', { id: pool.id, enabled: false });
  assert.equal(storagepool.state, 'Disabled');
  await assert.rejects(deploy(admin, zone, fast.id, 'disabled'), { status: 533 });
  await admin.run('stopVirtualMachine', { id: vm.id, forced: true });
  await admin.run('startVirtualMachine', { id: vm.id });
  assert.equal((await admin.call('updateStoragePool', { id: pool.id, enabled: true })).storagepool.state, 'Up');
  await assert.rejects(admin.call('deleteStoragePool', { id: pool.id }), {
    status: 536,
    message: new RegExp(`quick still holds 1 volume\\(s\\), such as ${volume.name}`),
  });
  await admin.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  for (const { id } of await admin.list('listVirtualMachines', { state: 'Error' }))
    await admin.run('destroyVirtualMachine', { id, expunge: true });
  const [left] = await named(admin, 'quick');
  assert.equal(left.disksizeallocated, 2 ** 28, 'the image alone');
  await admin.call('deleteStoragePool', { id: pool.id });
}

async function occupied({ admin, management }: Cloud, zone: Zone) {
  const [used] = await management.services.db.rows<{ id: string; name: string; n: string }>(
    'SELECT p.id, p.name, COUNT(*) AS n FROM storage_pool p JOIN volume v ON v.pool_id = p.id AND v.removed_at IS NULL WHERE p.zone_id = ? GROUP BY p.id LIMIT 1',
    [zone.zoneId],
  );
  assert.ok(used);
  await assert.rejects(admin.call('deleteStoragePool', { id: used.id }), {
    status: 536,
    message: new RegExp(`still holds ${used.n} volume`),
  });
  assert.equal((await admin.list('listStoragePools', { id: used.id }))[0].state, 'Up');
}

/** What is being removed is still there for whoever asks before the end of it. */
async function vanishing({ admin, management }: Cloud, zone: Zone) {
  const { db } = management.services;
  const names = { dns1: '10.0.0.1', internaldns1: '10.0.0.1', networktype: 'Advanced', guestcidraddress: '10.9.0.0/24' };
  const { zone: other } = await admin.call('createZone', { ...names, name: 'vanishing' });
  const { cluster: added } = await admin.call('addCluster', {
    zoneid: zone.zoneId,
    podid: zone.pod.id,
    clustername: 'vanishing',
    clustertype: 'CloudManaged',
    hypervisor: 'Simulator',
  });
  const cluster = added[0];
  const tries: [string, Id<'zone'> | Id<'cluster'>, string, Params, RegExp][] = [
    [
      'zone',
      other.id,
      'addImageStore',
      { zoneid: other.id, provider: 'NFS', url: 'nfs://10.147.28.6/export/late' },
      /zone has been removed/,
    ],
    ['cluster', cluster.id, 'createStoragePool', poolOf({ ...zone, cluster }, { name: 'late' }), /cluster has been removed/],
  ];
  for (const [table, id, command, params, message] of tries) {
    let refusal: Promise<void> = Promise.resolve();
    await db.transact(async (tx) => {
      await tx.query(`UPDATE ${table} SET removed_at = NOW(3) WHERE id = ?`, [id]);
      refusal = assert.rejects(admin.call(command, params), { message }, command);
      await new Promise((resolve) => setTimeout(resolve, 500));
    });
    await refusal;
  }
  assert.equal((await admin.list('listStoragePools', { name: 'late' })).length, 0);
  assert.equal((await db.rows('SELECT id FROM image_store WHERE zone_id = ?', [other.id])).length, 0);
}

async function stores(admin: Client, zone: Zone) {
  const good = { zoneid: zone.zoneId, provider: 'NFS', url: 'nfs://10.147.28.6/export/second', name: 'second' };
  const wrong: [Params, RegExp][] = [
    [{ provider: 'S3' }, /provider; it must be one of NFS, Directory/],
    [{ provider: undefined }, /missing parameter provider/],
    [{ url: undefined }, /needs its url/],
    [{ zoneid: undefined }, /needs zoneid/],
    [{ url: 'file:///srv' }, /has a URL such as nfs/],
    [{ url: 'nfs://10.147.28.6/export/home/sandbox/sstor' }, /secondary-0 is at .* already/],
    [{ 'details[0].key': 'nfs.version', 'details[0].value': '5' }, /nfs\.version cannot be '5'/],
  ];
  for (const [change, message] of wrong)
    await assert.rejects(admin.call('addImageStore', { ...good, ...change }), { status: 431, message }, JSON.stringify(change));
  const { imagestore: store } = await admin.call('addImageStore', { ...good, 'details[0].key': 'nfs.version', 'details[0].value': '4.2' });
  assert.equal(store.providername, 'NFS');
  assert.equal(store.scope, 'ZONE');
  assert.deepEqual(
    (await admin.list('listImageStores', { zoneid: zone.zoneId, protocol: 'nfs' })).map(({ name }) => name),
    ['secondary-0', 'second'],
  );
  const changed = await admin.call('updateImageStore', { id: store.id, readonly: true, name: 'third' });
  assert.equal(changed.imagestore.readonly, true);
  assert.deepEqual(
    (await admin.list('listImageStores', { readonly: true })).map(({ name }) => name),
    ['third'],
  );
  const [first] = await admin.list('listImageStores', { name: 'secondary-0' });
  assert.equal(first.disksizetotal, 1000 * 2 ** 30, 'it was measured when its system VM came up');
  await assert.rejects(admin.call('deleteImageStore', { id: first.id }), { status: 536, message: /still holds 1 template/ });
  await admin.call('updateImageStore', { id: first.id, readonly: true });
  await assert.rejects(
    admin.call('registerTemplate', {
      name: 'full',
      zoneid: zone.zoneId,
      format: 'RAW',
      hypervisor: 'Simulator',
      url: 'http://images.simulated.example/x',
    }),
    /no writable secondary storage/,
  );
  await admin.call('updateImageStore', { id: first.id, readonly: false });
  await admin.call('deleteImageStore', { id: store.id });
  assert.deepEqual(
    (await admin.list('listImageStores')).map(({ name }) => name),
    ['secondary-0'],
  );
}

async function visibility(cloud: Cloud, zone: Zone) {
  const { admin } = cloud;
  const [ann, bob] = [await addTenant(cloud, 'vera'), await addTenant(cloud, 'wim')];
  const vm = await deploy(ann.client, zone, zone.serviceOfferingId, 'seen');
  const [volume] = await ann.client.list('listVolumes');
  assert.equal(volume.virtualmachineid, vm.id);
  assert.equal(volume.type, 'ROOT');
  assert.equal(volume.state, 'Ready');
  assert.equal(volume.vmname, 'seen');
  assert.equal(volume.vmstate, 'Running');
  assert.equal(volume.deviceid, 0);
  assert.equal(volume.templateid, zone.templateId);
  assert.equal(volume.storage, undefined, 'where it lies is for administrators');
  assert.deepEqual(await bob.client.list('listVolumes', { listall: true }), []);
  await assert.rejects(bob.client.list('listVolumes', { id: volume.id }), { status: 431, message: /Invalid parameter id/ });
  await assert.rejects(bob.client.list('listVolumes', { virtualmachineid: vm.id }), {
    status: 431,
    message: /Invalid parameter virtualmachineid/,
  });
  assert.deepEqual(await ann.client.list('listVolumes', { listsystemvms: true, listall: true }), [volume]);
  const shown = async (params: Params) => (await admin.list('listVolumes', params)).map(({ id }) => id);
  assert.deepEqual(await shown({}), [], 'an administrator has none of his own');
  assert.deepEqual(await shown({ listall: true }), [volume.id]);
  assert.deepEqual(await shown({ id: volume.id }), [volume.id]);
  assert.deepEqual(await shown({ listall: true, type: 'DATADISK' }), []);
  assert.deepEqual(await shown({ listall: true, state: 'ready', type: 'root' }), [volume.id]);
  assert.ok((await shown({ listall: true, listsystemvms: true })).length >= 4, 'two system VMs and a router besides');
  const [details] = await admin.list('listVolumes', { id: volume.id });
  assert.deepEqual(await shown({ listall: true, storageid: details.storageid, clusterid: details.clusterid }), [volume.id]);
  assert.deepEqual(await admin.call('listVolumes', { listall: true, retrieveonlyresourcecount: true }), { count: 1 });
}

async function swept({ admin, management }: Cloud, zone: Zone) {
  const { services, reconciliation } = management;
  const vm = await deploy(admin, zone, zone.serviceOfferingId, 'swept');
  const [volume] = await admin.list('listVolumes', { virtualmachineid: vm.id });
  const [host] = await admin.list('listHosts', { clusterid: volume.clusterid, type: 'Routing' });
  const to = { kind: 'host', id: host.id } as const;
  const poolId = volume.storageid as Id<'storagePool'>;
  const there = async () => (await services.agents.ask(to, call(ListPoolFiles, { poolId }), { requestId: 'test' })).volumes;
  await admin.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  assert.ok(!(await there()).includes(volume.id));
  // As if the host had come back from a snapshot of itself.
  const unknown = '01234567-89ab-7def-8123-456789abcdef' as Id<'volume'>;
  for (const volumeId of [volume.id, unknown])
    await services.agents.ask(to, call(CreateVolume, { poolId, volumeId, sizeBytes: 1024, imageId: null }), { requestId: 'test' });
  const before = await there();
  await reconciliation.runOnce('storage.leftovers');
  assert.deepEqual(await there(), before);
  await services.db.transact((tx) => tx.update(volumes, { id: volume.id }, { removedAt: new Date(Date.now() - 7_200_000) }));
  await reconciliation.runOnce('storage.leftovers');
  assert.deepEqual((await there()).sort(), before.filter((id) => id !== volume.id).sort());
}

async function resolved({ admin, management }: Cloud, zone: Zone) {
  const pool = await createUnused(admin, zone, 'alarming');
  const { cluster: added } = await admin.call('addCluster', {
    zoneid: zone.zoneId,
    podid: zone.pod.id,
    clustername: 'alarming',
    clustertype: 'CloudManaged',
    hypervisor: 'Simulator',
  });
  const url = 'http://sim/alarming/h0';
  const of = { zoneid: zone.zoneId, podid: zone.pod.id, clusterid: added[0].id, hypervisor: 'Simulator', url };
  const host = (await admin.call('addHost', of)).host[0];
  const { db } = management.services;
  const raised: [AlertType, string][] = [
    ['storage', pool.id],
    ['cpu', added[0].id],
    ['memory', added[0].id],
    ['storageMisc', host.id],
  ];
  await db.transact(async (tx) => {
    for (const [type, resourceId] of raised) await raiseAlert(tx, type, 'raised by the test', { resourceId });
  });
  await admin.call('deleteStoragePool', { id: pool.id });
  await admin.call('deleteHost', { id: host.id, forced: true });
  await admin.call('deleteCluster', { id: added[0].id });
  assert.deepEqual(await db.rows("SELECT name FROM alert WHERE description = 'raised by the test' AND resolved_at IS NULL"), []);
}

async function alerts({ admin, management }: Cloud) {
  const open = async () =>
    management.services.db.rows<{ description: string }>('SELECT description FROM alert WHERE type = 2 AND resolved_at IS NULL');
  await management.reconciliation.runOnce('storage.measure');
  assert.deepEqual(await open(), []);
  const used = (await admin.list('listStoragePools')).filter(({ disksizeused }) => disksizeused > 0);
  assert.ok(used.length > 0, 'what pools say of themselves is in the record');
  await admin.call('updateConfiguration', { name: 'cluster.storage.capacity.notificationthreshold', value: '0' });
  await management.reconciliation.runOnce('storage.measure');
  assert.equal((await open()).length, used.length);
  assert.match((await open())[0]?.description ?? '', /The storage pool PS\d is \d+% full/);
  await admin.call('updateConfiguration', { name: 'cluster.storage.capacity.notificationthreshold', value: '0.75' });
  await management.reconciliation.runOnce('storage.measure');
  assert.deepEqual(await open(), []);
}
