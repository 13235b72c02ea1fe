/** Bad luck: management killed at any moment, Redis emptied, the database away. Each job ends done or undone, and nothing is left over. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, type Client, eventually, type Params, type Reply } from '../../lab/client.ts';
import { type CloudApart, startCloudApart } from './apart.ts';
import { holds } from './invariants.ts';
import { ensureSimulatorZone } from './simulator-zone.ts';

const KILLS = 5;
const SEED = Number(process.env['NEPHOS_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** Mulberry32: small, and the same everywhere for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Ids {
  readonly zoneid: string;
  readonly templateid: string;
  readonly serviceofferingid: string;
  readonly networkofferingid: string;
}

test('a simulated cloud survives bad luck', { timeout: 180_000 }, async (t) => {
  t.diagnostic(`NEPHOS_TEST_SEED=${SEED}`);
  const random = randomOf(SEED);
  // Slow enough for a deployment to be met in its middle.
  const cloud = await startCloudApart({ beatMs: 500, latencyMs: () => 15, downloadMs: 200 });
  t.after(() => cloud.close());
  const { zoneId, templateId, serviceOfferingId, networkOfferingId } = await ensureSimulatorZone(cloud.admin);
  const ids = { zoneid: zoneId, templateid: templateId, serviceofferingid: serviceOfferingId, networkofferingid: networkOfferingId };
  await holds(cloud);

  await t.test(`management killed ${KILLS} times in the middle of deployments and removals`, async () => {
    for (let round = 0; round < KILLS; round++) await killed(cloud, ids, round, random);
  });
  await t.test('Redis emptied again and again while machines are deployed', () => flushed(cloud, ids));
  await t.test('the database away for a while', () => databaseAway(cloud, ids));
});

const network = async (admin: Client, { zoneid, networkofferingid }: Ids, name: string): Promise<Reply> =>
  (await admin.call('createNetwork', { zoneid, networkofferingid, name, displaytext: name })).network;
const guest = ({ zoneid, templateid, serviceofferingid }: Ids, networkids: string, name: string): Params => ({
  zoneid,
  templateid,
  serviceofferingid,
  networkids,
  name,
});

/** Removes every guest of the network, whatever has become of it, and the network. */
async function remove({ admin }: CloudApart, networkId: string): Promise<void> {
  for (const { id, state } of await admin.list('listVirtualMachines', { networkid: networkId, listall: true }))
    await admin.run(state === 'Destroyed' ? 'expungeVirtualMachine' : 'destroyVirtualMachine', {
      id,
      ...(state === 'Destroyed' ? {} : { expunge: true }),
    });
  await admin.run('deleteNetwork', { id: networkId });
}

async function killed(cloud: CloudApart, ids: Ids, round: number, random: () => number): Promise<void> {
  const { admin } = cloud;
  const net = await network(admin, ids, `kill-${round}`);
  const first = (await admin.run('deployVirtualMachine', guest(ids, net.id, `first-${round}`))).virtualmachine;
  const fresh = await network(admin, ids, `fresh-${round}`);
  // One deployment makes its network, one joins a network, and one machine is being removed.
  const jobs = await Promise.all([
    admin.call('deployVirtualMachine', guest(ids, fresh.id, `fresh-${round}`)),
    admin.call('deployVirtualMachine', guest(ids, net.id, `second-${round}`)),
    admin.call('destroyVirtualMachine', { id: first.id, expunge: true }),
  ]);
  await new Promise((resolve) => setTimeout(resolve, random() * 900));
  await cloud.kill();
  if (random() < 0.5) await cloud.flushRedis();
  await cloud.start();
  const before = Date.now();
  for (const { jobid } of jobs) {
    const ended = await admin.job('', jobid, { timeoutSeconds: 30 }).catch((error: unknown) => error);
    assert.ok(!(ended instanceof Error), `a job that could be done was not: ${ended}`);
  }
  assert.ok(Date.now() - before < 20_000, 'jobs go on soon after the start');
  assert.deepEqual(await admin.list('listVirtualMachines', { id: first.id }), []);
  for (const name of [`fresh-${round}`, `second-${round}`])
    assert.equal((await admin.list('listVirtualMachines', { name }))[0]?.state, 'Running', name);
  await holds(cloud);
  await remove(cloud, net.id);
  await remove(cloud, fresh.id);
  await holds(cloud);
}

async function flushed(cloud: CloudApart, ids: Ids): Promise<void> {
  const { admin } = cloud;
  const net = await network(admin, ids, 'flushed');
  let flushing = true;
  const flusher = (async () => {
    while (flushing) {
      await cloud.flushRedis();
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  })();
  try {
    const names = Array.from({ length: 6 }, (_, i) => `flushed-${i}`);
    const made = await Promise.all(names.map((name) => admin.run('deployVirtualMachine', guest(ids, net.id, name), { pollMs: 200 })));
    for (const { virtualmachine } of made) assert.equal(virtualmachine.state, 'Running');
  } finally {
    flushing = false;
    await flusher;
  }
  const [{ n }] = (await cloud.db.rows<{ n: number }>(
    'SELECT COUNT(*) AS n FROM machine m JOIN nic c ON c.machine_id = m.id WHERE c.network_id = ? AND m.kind = ?',
    [net.id, 'guest'],
  )) as [{ n: number }];
  assert.equal(Number(n), 6, 'none was made twice');
  await holds(cloud);
  await remove(cloud, net.id);
  await holds(cloud);
}

async function databaseAway(cloud: CloudApart, ids: Ids): Promise<void> {
  const { admin } = cloud;
  const net = await network(admin, ids, 'away');
  const jobs = await Promise.all(['away-1', 'away-2'].map((name) => admin.call('deployVirtualMachine', guest(ids, net.id, name))));
  await new Promise((resolve) => setTimeout(resolve, 250));
  cloud.database.cut();
  const refused: unknown[] = [];
  for (let i = 0; i < 4; i++) {
    refused.push(await admin.call('listZones').catch((error: unknown) => error));
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  for (const error of refused) {
    assert.ok(error instanceof ApiError, `a request without a database got ${error}`);
    assert.equal(error.status, 530);
    assert.match(error.body.errortext, /the database cannot be reached at the moment; please try again/);
  }
  cloud.database.mend();
  await eventually('requests are answered again', async () => (await admin.list('listZones')).length > 0, { timeoutSeconds: 10 });
  for (const { jobid } of jobs) {
    const { virtualmachine } = await admin.job('deployVirtualMachine', jobid, { timeoutSeconds: 40 });
    assert.equal(virtualmachine.state, 'Running');
  }
  await holds(cloud, { timeoutSeconds: 40 });
  await remove(cloud, net.id);
  await holds(cloud);
}
