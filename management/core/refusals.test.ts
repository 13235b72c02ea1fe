import assert from 'node:assert/strict';
import test from 'node:test';
import { withScratchDatabase } from '../../lab/services.ts';
import { newId } from '../../protocol/ids.ts';
import { createLog } from '../../protocol/log.ts';
import { asTables } from './area.ts';
import { openDatabase } from './db.ts';
import { openMetrics } from './metrics.ts';
import { isAlarming, raiseRefusal } from './refusals.ts';
import { agents, alerts, coreTables } from './tables.ts';

test('refusals of an agent that there is are one alert about it; made-up ids make no alerts of their own', {
  timeout: 60_000,
}, async () => {
  await withScratchDatabase(async ({ database }) => {
    const db = await openDatabase({ ...database, poolSize: 4 }, asTables(...coreTables), [], createLog('test', { level: 'silent' }));
    try {
      await db.source.synchronize();
      const known = newId('host');
      await db.read.insert(agents, { id: known, kind: 'host', state: 'Up', generation: 0, stateSince: new Date(), load: 0 });
      const refuse = (id: string | null) =>
        db.transact((tx) =>
          raiseRefusal(tx, { address: '192.0.2.1', peer: id === null ? null : { kind: 'host', id }, words: 'the join token is not valid' }),
        );
      for (let count = 0; count < 20; count++) await refuse(newId('host'));
      await refuse(null);
      for (let count = 0; count < 3; count++) await refuse(known);
      const rows = await db.read.find(alerts, { order: { count: 'ASC' } });
      assert.deepEqual(
        rows.map(({ resourceId, count, name }) => [resourceId, count, name]),
        [
          [known, 3, 'ALERT.CA.CERT'],
          [null, 21, 'ALERT.CA.CERT'],
        ],
      );
      assert.match(rows[1]?.description ?? '', /192\.0\.2\.1/);
    } finally {
      await db.close();
    }
  });
});

test('what is alarming, and what is counted', async () => {
  assert.ok(isAlarming({ reason: 'bad-token' }));
  assert.ok(!isAlarming({ reason: 'no-certificate' }));
  const metrics = openMetrics();
  const refused: Record<string, number> = { 'bad-token': 2 };
  metrics.counter('link_refused_total', 'Connections refused', 'reason', () => refused);
  assert.match(await metrics.text(), /nephos_link_refused_total\{reason="bad-token"\} 2/);
  refused['bad-token'] = 7;
  assert.match(await metrics.text(), /nephos_link_refused_total\{reason="bad-token"\} 7/);
});
