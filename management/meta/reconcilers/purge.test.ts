import assert from 'node:assert/strict';
import test from 'node:test';
import { withScratchDatabase } from '../../../lab/services.ts';
import { newId } from '../../../protocol/ids.ts';
import { createLog } from '../../../protocol/log.ts';
import type { Id } from '../../../protocol/schema.ts';
import { asTables } from '../../core/area.ts';
import { findSession, openSession, sessionTimeoutMinutes } from '../../core/auth/session.ts';
import { openDatabase } from '../../core/db.ts';
import type { Services } from '../../core/services.ts';
import { openSettings } from '../../core/settings.ts';
import { agents, alerts, coreTables, events, jobs, joinTokens, journal, revokedCertificates, sessions } from '../../core/tables.ts';
import { metaSettings } from '../settings.ts';
import { purge } from './purge.ts';

const HOUR_MS = 3_600_000;
const ago = (hours: number) => new Date(Date.now() - hours * HOUR_MS);

test('what nobody asks for any more is taken away, and nothing else', { timeout: 60_000 }, async () => {
  await withScratchDatabase(async ({ database }) => {
    const log = createLog('test', { level: 'silent' });
    const db = await openDatabase({ ...database, poolSize: 4 }, asTables(...coreTables), [], log);
    await db.source.synchronize();
    const settings = await openSettings(db, [...metaSettings, sessionTimeoutMinutes], log);
    try {
      const owner = { accountId: newId('account'), domainId: newId('domain'), userId: newId('user') };
      const job = async (state: 'Done' | 'Failed' | 'Stuck' | 'Running', at: Date): Promise<Id<'job'>> => {
        const id = newId('job');
        const completedAt = state === 'Done' || state === 'Failed' ? at : null;
        await db.read.insert(jobs, {
          id,
          saga: 's',
          sagaVersion: 1,
          input: {},
          state,
          epoch: 1,
          requestId: 'r',
          attempts: 1,
          createdAt: at,
          completedAt,
        });
        await db.read.insert(journal, { jobId: id, step: '/a', value: 1, at });
        return id;
      };
      const kept = [await job('Done', ago(23)), await job('Stuck', ago(100)), await job('Running', ago(100))];
      for (const state of ['Done', 'Failed'] as const) await job(state, ago(25));
      const event = { ...owner, type: 'A.B', level: 'INFO', state: 'Completed', description: '', archived: false } as const;
      await db.read.insert(events, { ...event, id: newId('event'), createdAt: ago(24 * 16) });
      await db.read.insert(events, { ...event, id: newId('event'), createdAt: ago(24 * 14) });
      const alert = { type: 7, name: 'x', description: '', count: 1, archived: false, createdAt: ago(9000), lastSentAt: ago(9000) };
      await db.read.insert(alerts, { ...alert, id: newId('alert') });
      const session = { userId: owner.userId, sessionKeySha256: 'x', createdAt: ago(9) };
      await db.read.insert(sessions, { ...session, id: 'old', lastSeenAt: ago(1) });
      await db.read.insert(sessions, { ...session, id: 'live', lastSeenAt: ago(0.1) });
      const token = { kind: 'host', agentId: newId('host') } as const;
      await db.read.insert(joinTokens, { ...token, sha256: 'old', expiresAt: ago(25) });
      await db.read.insert(joinTokens, { ...token, sha256: 'new', expiresAt: ago(-0.1) });
      await db.read.insert(revokedCertificates, { serial: 'old', revokedAt: ago(24 * 367) });
      await db.read.insert(revokedCertificates, { serial: 'new', revokedAt: ago(24 * 364) });
      for (const [state, hours] of [
        ['Removed', 24 * 367],
        ['Removed', 24],
        ['Up', 24 * 367],
      ] as const)
        await db.read.insert(agents, { id: newId('host'), kind: 'host', state, generation: 0, stateSince: ago(hours), load: 0 });

      const tables = asTables(jobs, journal, events, alerts, sessions, joinTokens, revokedCertificates, agents);
      const counts = async () => Promise.all(tables.map((each) => db.read.count(each)));
      for (const round of [1, 2]) {
        await purge.run({ db, settings, log } as unknown as Services);
        assert.deepEqual(await counts(), [3, 3, 1, 1, 1, 1, 1, 2], `round ${round}`);
      }
      assert.deepEqual((await db.read.find(jobs)).map(({ id }) => id).sort(), [...kept].sort());

      await settings.set('event.purge.delay', 'global', '', '0');
      await settings.set('alert.purge.delay', 'global', '', '1');
      await db.read.insert(events, { ...event, id: newId('event'), createdAt: ago(24 * 16) });
      await purge.run({ db, settings, log } as unknown as Services);
      assert.deepEqual((await counts()).slice(2, 4), [2, 0]);

      const opened = [];
      for (let index = 0; index < 130; index++) opened.push(await openSession(db, owner.userId));
      assert.equal(await db.read.countBy(sessions, { userId: owner.userId }), 100);
      assert.ok(await findSession(db, opened.at(-1)?.id ?? '', 30));
    } finally {
      settings.close();
      await db.close();
    }
  });
});
