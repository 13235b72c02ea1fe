import type { Id } from '../../../protocol/schema.ts';
import { sessionTimeoutMinutes } from '../../core/auth/session.ts';
import type { Database } from '../../core/db.ts';
import { reconciler } from '../../core/reconcile.ts';
import { alertKeepDays, eventKeepDays, jobKeepMinutes } from '../settings.ts';

const ROWS_AT_ONCE = 500;
const DAY_MS = 86_400_000;
/** No certificate lives longer than a year, so nobody needs to be told after that that one was revoked. */
const CERTIFICATE_DAYS = 366;

/** Takes away what nobody asks for any more, a few rows at a time, so that no table grows without end. */
export const purge = reconciler({
  name: 'meta.purge',
  everySeconds: 600,
  wakeOn: [],
  run: async ({ db, settings }) => {
    const before = (ms: number) => new Date(Date.now() - ms);
    await purgeJobs(db, before(settings.get(jobKeepMinutes) * 60_000));
    const eventDays = settings.get(eventKeepDays);
    if (eventDays > 0) await purgeRows(db, 'event', 'created_at < ?', before(eventDays * DAY_MS));
    const alertDays = settings.get(alertKeepDays);
    if (alertDays > 0) await purgeRows(db, 'alert', 'last_sent_at < ?', before(alertDays * DAY_MS));
    await purgeRows(db, 'session', 'last_seen_at < ?', before(settings.get(sessionTimeoutMinutes) * 60_000));
    await purgeRows(db, 'join_token', 'expires_at < ?', before(DAY_MS));
    await purgeRows(db, 'revoked_certificate', 'revoked_at < ?', before(CERTIFICATE_DAYS * DAY_MS));
    await purgeRows(db, 'agent', "state = 'Removed' AND state_since < ?", before(CERTIFICATE_DAYS * DAY_MS));
  },
});

async function purgeRows(db: Database, table: string, condition: string, before: Date): Promise<void> {
  for (;;) {
    const { affectedRows } = await db.transact(
      (tx): Promise<{ affectedRows: number }> => tx.query(`DELETE FROM ${table} WHERE ${condition} LIMIT ?`, [before, ROWS_AT_ONCE]),
    );
    if (affectedRows < ROWS_AT_ONCE) return;
  }
}

/** With what they remembered. Jobs that are stuck stay until an operator has dealt with them. */
async function purgeJobs(db: Database, before: Date): Promise<void> {
  for (;;) {
    const count = await db.transact(async (tx) => {
      const rows: { id: Id<'job'> }[] = await tx.query(
        "SELECT id FROM job WHERE created_at < ? AND completed_at < ? AND state IN ('Done', 'Failed') LIMIT ? FOR UPDATE",
        [before, before, ROWS_AT_ONCE],
      );
      const ids = rows.map(({ id }) => id);
      if (ids.length === 0) return 0;
      await tx.query('DELETE FROM journal WHERE job_id IN (?)', [ids]);
      await tx.query('DELETE FROM job WHERE id IN (?)', [ids]);
      return ids.length;
    });
    if (count < ROWS_AT_ONCE) return;
  }
}
