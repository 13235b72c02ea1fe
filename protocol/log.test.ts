import assert from 'node:assert/strict';
import test from 'node:test';
import { CloudError } from './errors.ts';
import { createLog, errorTold } from './log.ts';
import { Secret } from './schema.ts';

test('a log says of an error what happened, and never with which values', () => {
  const sql = "INSERT INTO user (secret_key) VALUES ('canary-in-sql')";
  const driver = Object.assign(new Error("Data too long for column 'name'"), { code: 'ER_DATA_TOO_LONG', errno: 1406, sql });
  const query = Object.assign(new Error(driver.message), {
    name: 'QueryFailedError',
    query: sql,
    parameters: ['canary-in-sql'],
    driverError: driver,
  });
  query.cause = driver;
  const wrapped = new CloudError('Internal', 'it was not written', { cause: query, password: new Secret('canary-in-detail') });
  const log = createLog('test', { level: 'silent' });
  const serializers: unknown = Reflect.get(
    log,
    Object.getOwnPropertySymbols(log).find(({ description }) => description === 'pino.serializers') ?? '',
  );
  assert.ok(typeof serializers === 'object' && serializers !== null);
  const told = Reflect.get(serializers, 'err');
  for (const error of [query, wrapped, driver]) {
    const line = JSON.stringify(told(error));
    assert.ok(!line.includes('canary'), line);
    assert.match(line, /ER_DATA_TOO_LONG/);
    assert.match(line, /Data too long/);
    assert.match(line, /1406/);
  }
  assert.match(JSON.stringify(told(wrapped)), /it was not written.*log\.test/s);
  assert.deepEqual(errorTold('text'), { message: 'text' });
  const round = new Error('a');
  round.cause = round;
  assert.ok(JSON.stringify(errorTold(round)).length < 20_000);
});
