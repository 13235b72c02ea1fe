import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { withScratchDatabase } from '../../lab/services.ts';
import { createLog } from '../../protocol/log.ts';
import { asTables } from './area.ts';
import { type Database, openDatabase } from './db.ts';
import { reconciler, startReconcilers } from './reconcile.ts';
import type { Services } from './services.ts';
import { coreTables } from './tables.ts';

const log = createLog('test', { level: 'silent' });

async function withDatabase(work: (db: Database) => Promise<void>): Promise<void> {
  await withScratchDatabase(async ({ database }) => {
    const db = await openDatabase({ ...database, poolSize: 6 }, asTables(...coreTables), [], log);
    await db.source.synchronize();
    await work(db).finally(() => db.close());
  });
}

/** Two servers that are woken all the time, with one task; `took` says who ran it. */
async function twoServers(
  db: Database,
  timing: { leaseMs: number; runMsMax: number },
  run: (owner: string) => Promise<void>,
  work: (servers: { wake: () => void; close: (owner: 'one' | 'two') => Promise<void> }) => Promise<void>,
): Promise<void> {
  const open = (owner: string) =>
    startReconcilers(
      [reconciler({ name: 'test.task', everySeconds: 3600, wakeOn: ['test'], run: () => run(owner) })],
      () => ({ db }) as unknown as Services,
      owner,
      log,
      timing,
    );
  const servers = { one: open('one'), two: open('two') };
  try {
    await work({
      wake: () => {
        servers.one.wake('test');
        servers.two.wake('test');
      },
      close: (owner) => servers[owner].close(),
    });
  } finally {
    await Promise.all([servers.one.close(), servers.two.close()]);
  }
}

test('a task has one leader, also while it runs for longer than a lease, and passes on when that server ends', {
  timeout: 60_000,
}, async () => {
  await withDatabase(async (db) => {
    const took: string[] = [];
    let running = 0;
    let most = 0;
    const run = async (owner: string) => {
      took.push(owner);
      running += 1;
      most = Math.max(most, running);
      await wait(2500);
      running -= 1;
    };
    await twoServers(db, { leaseMs: 1500, runMsMax: 60_000 }, run, async ({ wake, close }) => {
      for (let beat = 0; beat < 30; beat++) {
        wake();
        await wait(200);
      }
      assert.equal(most, 1, 'two servers ran the task at the same time');
      const [leader] = took;
      assert.ok(leader === 'one' || leader === 'two');
      assert.ok(
        took.every((owner) => owner === leader),
        'the leader changed without need',
      );
      await close(leader);
      const other = leader === 'one' ? 'two' : 'one';
      wake();
      const until = Date.now() + 1200;
      while (took.at(-1) !== other && Date.now() < until) await wait(10);
      assert.equal(took.at(-1), other, 'a server that ends gives its lease back');
    });
  });
});

test('a run that never ends loses its lease, so another server does the task', { timeout: 60_000 }, async () => {
  await withDatabase(async (db) => {
    const took: string[] = [];
    const run = (owner: string): Promise<void> => {
      took.push(owner);
      return took.length === 1 ? new Promise(() => {}) : Promise.resolve();
    };
    await twoServers(db, { leaseMs: 600, runMsMax: 900 }, run, async ({ wake }) => {
      for (let beat = 0; beat < 20; beat++) {
        wake();
        await wait(200);
      }
      assert.equal(new Set(took).size, 2);
    });
  });
});
