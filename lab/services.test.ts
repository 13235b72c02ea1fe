import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createConnection } from 'mysql2/promise';
import { exists } from './files.ts';
import { isPassable, servicePlaces } from './service-places.ts';
import {
  createScratchDatabase,
  servicesStatus,
  startServices,
  stopServices,
  wipeServices,
  wipeTestServices,
  withScratchDatabase,
} from './services.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nephos-services-'));
  await chmod(directory, 0o755);
});
after(() => rm(directory, { recursive: true, force: true }));

const firstValue = async (
  connection: { socketPath: string; user: string; password: string; database: string },
  statement: string,
): Promise<unknown> => {
  const session = await createConnection(connection);
  try {
    const [rows] = await session.query({ sql: statement, rowsAsArray: true });
    return Array.isArray(rows) && Array.isArray(rows[0]) ? rows[0][0] : null;
  } finally {
    await session.end();
  }
};

test('a checkout closed to others, and one with a long path, get places of their own outside', async () => {
  const closed = join(directory, 'closed', 'var');
  await mkdir(closed, { recursive: true });
  assert.equal(await isPassable(closed), true);
  assert.deepEqual(await servicePlaces(closed, true), { dataDirectory: closed, runDirectory: join(closed, 'run') });
  await chmod(join(directory, 'closed'), 0o700);
  assert.equal(await isPassable(closed), false);
  const places = await servicePlaces(closed, true);
  assert.match(places.dataDirectory, /^\/var\/lib\/nephos-[0-9a-f]{10}$/);
  assert.match(places.runDirectory, /^\/run\/nephos-[0-9a-f]{10}$/);
  assert.equal((await servicePlaces(closed, false)).dataDirectory, closed);
  const long = join(directory, 'l'.repeat(90));
  assert.equal((await servicePlaces(long, true)).dataDirectory, long);
  assert.match((await servicePlaces(long, true)).runDirectory, /^\/run\/nephos-/);
});

test('database and queue start, keep data over a stop, and can be wiped twice', { timeout: 60_000 }, async () => {
  const varDir = join(directory, 'open');
  await mkdir(varDir);
  try {
    const [first, second] = await Promise.all([startServices({ varDir }), startServices({ varDir })]);
    assert.deepEqual(first, second);
    assert.deepEqual(await servicesStatus(varDir), { mariadb: 'running', redis: 'running' });
    assert.equal(await firstValue(first.database, 'SELECT @@global.tx_isolation'), 'READ-COMMITTED');
    assert.equal(await firstValue(first.database, 'SELECT @@global.innodb_flush_log_at_trx_commit'), 1);
    assert.equal(await firstValue(first.database, 'SELECT @@global.skip_networking'), 1);
    await firstValue(first.database, 'CREATE TABLE kept (name varchar(20))');
    await firstValue(first.database, "INSERT INTO kept VALUES ('ünï☁')");
    await assert.rejects(firstValue({ ...first.database, password: 'wrong' }, 'SELECT 1'), { code: 'ER_ACCESS_DENIED_ERROR' });
    await assert.rejects(firstValue(first.database, 'CREATE DATABASE elsewhere'), { code: 'ER_DBACCESS_DENIED_ERROR' });
    await stopServices(varDir);
    assert.deepEqual(await servicesStatus(varDir), { mariadb: 'stopped', redis: 'stopped' });
    const again = await startServices({ varDir });
    assert.deepEqual(again, first);
    assert.equal(await firstValue(again.database, 'SELECT name FROM kept'), 'ünï☁');
    assert.equal((await stat(join(varDir, 'secrets', 'mariadb-password'))).mode & 0o777, 0o600);
    if (process.getuid?.() === 0) assert.notEqual((await stat(again.redis.path)).uid, 0);
  } finally {
    await wipeServices(varDir);
  }
  await wipeServices(varDir);
  assert.ok(!(await exists(join(varDir, 'mariadb'))));
});

test('services of a checkout that only root may read work, and leave nothing outside', {
  timeout: 60_000,
  skip: process.getuid?.() !== 0 && 'needs root',
}, async () => {
  const varDir = join(directory, 'locked', 'var');
  await mkdir(varDir, { recursive: true });
  await chmod(join(directory, 'locked'), 0o700);
  const places = await servicePlaces(varDir, true);
  try {
    const { database } = await startServices({ varDir, durability: 'fast' });
    assert.ok(database.socketPath.startsWith(places.runDirectory));
    assert.equal(await firstValue(database, 'SELECT 40 + 2'), 42);
  } finally {
    await wipeServices(varDir);
  }
  assert.ok(!(await exists(places.dataDirectory)));
  assert.ok(!(await exists(places.runDirectory)));
});

test('scratch databases are apart from each other and gone afterwards', { timeout: 60_000 }, async () => {
  const varDir = join(directory, 'scratch');
  await mkdir(varDir);
  try {
    const other = await createScratchDatabase(varDir);
    await firstValue(other.database, 'CREATE TABLE t (a int)');
    await withScratchDatabase(async (scratch) => {
      assert.notEqual(scratch.database.database, other.database.database);
      assert.equal(await firstValue(scratch.database, 'SELECT count(*) FROM information_schema.tables WHERE table_schema = database()'), 0);
      assert.ok(scratch.redis.db > 0);
      assert.notEqual(scratch.redis.db, other.redis.db);
    }, varDir);
    await other.drop();
    await other.drop();
    assert.equal(
      await firstValue(
        { ...other.database, database: 'information_schema' },
        "SELECT count(*) FROM schemata WHERE schema_name LIKE 'nephos\\_scratch%'",
      ),
      0,
    );
  } finally {
    await wipeTestServices(varDir);
  }
  assert.deepEqual(await readdir(varDir), []);
});
