import assert from 'node:assert/strict';
import test from 'node:test';
import { createLog } from '../../protocol/log.ts';
import type { Database } from './db.ts';
import { openSettings, setting } from './settings.ts';
import type { SettingRow } from './tables.ts';

const log = createLog('test', { level: 'silent' });
const size = setting.integer('test.size', 7, { min: 1, max: 9, about: 'For tests.', scopes: ['global', 'zone'] });
const row = (value: string, scope: SettingRow['scope'] = 'global', scopeId = ''): SettingRow => ({
  name: size.name,
  scope,
  scopeId,
  value,
  updatedAt: new Date(),
});

test('a value that is not allowed any more counts as not set, and breaks nothing', async () => {
  let rows = [row('12'), row('3', 'zone', 'z1'), row('x', 'zone', 'z2')];
  const settings = await openSettings({ read: { find: async () => rows } } as unknown as Database, [size], log);
  try {
    assert.equal(settings.get(size), 7);
    assert.equal(settings.get(size, { zone: 'z1' }), 3);
    assert.equal(settings.get(size, { zone: 'z2' }), 7);
    rows = [row('4'), row('x', 'zone', 'z2')];
    await settings.reload();
    assert.equal(settings.get(size, { zone: 'z2' }), 4);
  } finally {
    settings.close();
  }
});

test('a look at the database that took long does not bring an older value back', async () => {
  let answer: () => Promise<SettingRow[]> = async () => [row('2')];
  const settings = await openSettings({ read: { find: () => answer() } } as unknown as Database, [size], log);
  try {
    let slowly = (_rows: SettingRow[]) => {};
    answer = () =>
      new Promise((done) => {
        slowly = done;
      });
    const older = settings.reload();
    answer = async () => [row('5')];
    await settings.reload();
    assert.equal(settings.get(size), 5);
    slowly([row('2')]);
    await older;
    assert.equal(settings.get(size), 5);
  } finally {
    settings.close();
  }
});
