import assert from 'node:assert/strict';
import test from 'node:test';
import { withScratchDatabase } from '../../lab/services.ts';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { createLog } from '../../protocol/log.ts';
import { call, message } from '../../protocol/message.ts';
import { s } from '../../protocol/schema.ts';
import { asSagas, asTables } from './area.ts';
import { type Database, openDatabase, type Tx } from './db.ts';
import { type Jobs, openJobs } from './jobs.ts';
import { type AnySaga, saga } from './saga.ts';
import type { Services } from './services.ts';
import { alerts, coreTables, jobs as jobTable, journal } from './tables.ts';

const log = createLog('test', { level: 'silent' });
const lost = () => Object.assign(new Error('Connection lost: The server closed the connection.'), { code: 'PROTOCOL_CONNECTION_LOST' });

interface World {
  readonly db: Database;
  /** Reads outside a transaction that fail from now on, as on connections that a restarted database has cut. */
  lose: (table: unknown, times: number) => void;
  readonly services: Services;
  readonly jobs: Jobs;
}

async function withJobs(
  sagas: readonly AnySaga[],
  agents: Partial<Services['agents']>,
  work: (world: World) => Promise<void>,
): Promise<void> {
  await withScratchDatabase(async ({ database, redis }) => {
    const real = await openDatabase({ ...database, poolSize: 6 }, asTables(...coreTables), [], log);
    await real.source.synchronize();
    const losing = new Map<unknown, number>();
    const read = new Proxy(real.read, {
      get: (target, name) => {
        const found: unknown = Reflect.get(target, name);
        if (typeof found !== 'function') return found;
        return (...given: unknown[]) => {
          const left = losing.get(given[0]) ?? 0;
          if (left === 0) return found.apply(target, given);
          losing.set(given[0], left - 1);
          return Promise.reject(lost());
        };
      },
    });
    const db: Database = { ...real, read };
    const jobs = openJobs({ config: { redis, workers: 4 }, db, log, sagas, serverId: newId('managementServer') });
    const services = { db, log, jobs, agents, wake: () => {} } as unknown as Services;
    jobs.listen(services);
    try {
      await work({ db: real, lose: (table, times) => void losing.set(table, times), services, jobs });
    } finally {
      await jobs.close();
      await real.close();
    }
  });
}

const nothing = s.object({});
const count = async (tx: Tx): Promise<string> => {
  await tx.query('INSERT INTO counter (name, value) VALUES (?, 1)', ['made']);
  return 'made';
};
const made = async ({ db }: World) => Number((await db.rows<{ n: string }>('SELECT COUNT(*) AS n FROM counter'))[0]?.n);

test('a connection that was lost while a job is taken up is no failure of the job', { timeout: 60_000 }, async () => {
  const make = saga<object, string>({
    name: 'test.make',
    version: 1,
    input: nothing,
    run: (run) => run.step('make', count),
  });
  await withJobs(asSagas(make), {}, async (world) => {
    world.lose(journal, 1);
    const { jobId } = await world.jobs.start(make, {}, { requestId: 'r' });
    assert.equal((await world.jobs.finished(jobId, 20_000)).state, 'Done');
    assert.equal(await made(world), 1);
  });
});

test('a connection that was lost between steps is no failure either', { timeout: 60_000 }, async () => {
  const Poke = message({ name: 'test.poke', ask: nothing, answer: nothing, patience: 'fast' });
  const poke = saga<object, string>({
    name: 'test.poke',
    version: 1,
    input: nothing,
    run: async (run) => {
      await run.step('make', count, async (tx) => void (await tx.query('DELETE FROM counter')));
      await run.ask('poke', { kind: 'host', id: newId('host') }, async ({ db }) => {
        await db.read.findOneBy(alerts, { id: newId('alert') });
        return call(Poke, {});
      });
      return 'poked';
    },
  });
  await withJobs(asSagas(poke), { ask: async () => ({}) as never }, async (world) => {
    world.lose(alerts, 1);
    const { jobId } = await world.jobs.start(poke, {}, { requestId: 'r' });
    assert.equal((await world.jobs.finished(jobId, 20_000)).state, 'Done');
    assert.equal(await made(world), 1);
  });
});

test('a job whose saga is done stays done when its result cannot be shown', { timeout: 60_000 }, async () => {
  let asked = 0;
  const make = (name: string, result: () => Promise<Record<string, unknown>>) =>
    saga<object, string>({
      name,
      version: 1,
      input: nothing,
      run: (run) => run.step('make', async () => 'made'),
      result: async () => {
        asked += 1;
        return result();
      },
    });
  const gone = make('test.gone', () => Promise.reject(new CloudError('NotFound', 'it is gone already')));
  const away = make('test.away', async () => {
    if (asked === 1) throw lost();
    return { thing: { id: 'x' } };
  });
  await withJobs(asSagas(gone, away), {}, async (world) => {
    const first = await world.jobs.start(away, {}, { requestId: 'r' });
    const shown = await world.jobs.finished(first.jobId, 20_000);
    assert.deepEqual([shown.state, shown.result, asked], ['Done', { thing: { id: 'x' } }, 2]);
    const second = await world.jobs.start(gone, {}, { requestId: 'r' });
    const ended = await world.jobs.finished(second.jobId, 20_000);
    assert.deepEqual([ended.state, ended.result], ['Done', { success: true }]);
  });
});

test('a job of another release is stuck, and the operator is told', { timeout: 60_000 }, async () => {
  const old = saga<object, string>({ name: 'test.old', version: 1, input: nothing, run: async () => '' });
  await withJobs(asSagas({ ...old, version: 2 }), {}, async (world) => {
    const { jobId } = await world.jobs.start(old, {}, { requestId: 'r' });
    assert.equal((await world.jobs.finished(jobId, 20_000)).state, 'Stuck');
    const [alert, ...more] = await world.db.read.findBy(alerts, { resourceId: jobId });
    assert.equal(more.length, 0);
    assert.equal(alert?.name, 'ALERT.MANAGEMENT');
    assert.match(alert?.description ?? '', /test\.old.*stuck.*another release/i);
    assert.equal((await world.db.read.findOneBy(jobTable, { id: jobId }))?.completedAt, null);
  });
});

test('jobs that may take hours leave workers to the others, and are done in the end', { timeout: 60_000 }, async () => {
  const Wait = message({ name: 'test.wait', ask: nothing, answer: nothing, patience: 'slow' });
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  let waiting = 0;
  let waitingMost = 0;
  const long = saga<object, string>({
    name: 'test.long',
    version: 1,
    input: nothing,
    mayTakeHours: true,
    run: async (run) => {
      await run.ask('wait', { kind: 'host', id: newId('host') }, call(Wait, {}));
      return 'waited';
    },
  });
  const short = saga<object, string>({ name: 'test.short', version: 1, input: nothing, run: (run) => run.step('make', count) });
  const ask = async () => {
    waiting += 1;
    waitingMost = Math.max(waitingMost, waiting);
    await released;
    waiting -= 1;
    return {} as never;
  };
  await withJobs(asSagas(long, short), { ask }, async (world) => {
    const longs = await Promise.all(Array.from({ length: 8 }, () => world.jobs.start(long, {}, { requestId: 'r' })));
    // Not rung: the scan must find it behind all those that cannot begin.
    const unrung = await world.db.transact((tx) => world.jobs.add(tx, short, {}, { requestId: 'r' }));
    assert.equal((await world.jobs.finished(unrung.jobId, 10_000)).state, 'Done');
    assert.equal(waitingMost, 2, 'half of the four workers');
    release();
    for (const { jobId } of longs) assert.equal((await world.jobs.finished(jobId, 20_000)).state, 'Done');
    assert.equal(waitingMost, 2);
  });
});

test('a job that is for later waits for its time', { timeout: 60_000 }, async () => {
  const make = saga<object, string>({ name: 'test.make', version: 1, input: nothing, run: (run) => run.step('make', count) });
  await withJobs(asSagas(make), {}, async (world) => {
    const at = Date.now() + 3000;
    const { jobId } = await world.jobs.start(make, {}, { requestId: 'r', notBefore: new Date(at) });
    await assert.rejects(world.jobs.finished(jobId, 1500), /is still Queued/);
    assert.equal((await world.jobs.finished(jobId, 20_000)).state, 'Done');
    assert.ok(Date.now() >= at);
  });
});
