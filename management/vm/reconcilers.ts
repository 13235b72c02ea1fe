import type { Id } from '../../protocol/schema.ts';
import { reconciler } from '../core/reconcile.ts';
import { expungeVmSaga } from './sagas/expunge-vm.ts';
import { expungeDelaySeconds, expungeIntervalSeconds } from './settings.ts';

let lastMs = 0;

/** Destroyed guests are expunged after a while. */
export const expungeReconciler = reconciler({
  name: 'vm.expunge',
  everySeconds: 5,
  wakeOn: [],
  run: async ({ db, jobs, settings }) => {
    if (Date.now() - lastMs < settings.get(expungeIntervalSeconds) * 1000) return;
    lastMs = Date.now();
    const due = await db.rows<{ id: Id<'machine'> }>(
      `SELECT v.id AS id FROM vm v JOIN machine m ON m.id = v.id WHERE v.removed_at IS NULL AND m.state = 'Destroyed' AND v.destroyed_at < ?
          AND NOT EXISTS (SELECT 1 FROM job j WHERE j.instance_id = v.id AND j.state IN ('Queued', 'Running', 'Unwinding')) LIMIT 500`,
      [new Date(Date.now() - settings.get(expungeDelaySeconds) * 1000)],
    );
    for (const { id } of due)
      await jobs.start(expungeVmSaga, { id }, { requestId: 'vm.expunge', instance: { type: 'VirtualMachine', id } });
  },
});
