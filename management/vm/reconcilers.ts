import type { Id } from '../../protocol/schema.ts';
import { reconciler } from '../core/reconcile.ts';
import type { Services } from '../core/services.ts';
import { expungeVmSaga } from './sagas/expunge-vm.ts';
import { expungeDelaySeconds, expungeIntervalSeconds } from './settings.ts';

let lastMs = 0;
let lastRetryMs = 0;
const RETRY_SECONDS = 10;
/** What made an expunging fail, such as a host that is away, is rarely gone within a minute. */
const FAILED_PAUSE_SECONDS = 600;

const IDLE = `NOT EXISTS (SELECT 1 FROM job j WHERE j.instance_id = v.id AND j.state IN ('Queued', 'Running', 'Unwinding'))`;
const GUESTS = 'SELECT v.id AS id FROM vm v JOIN machine m ON m.id = v.id WHERE v.removed_at IS NULL';

/** Destroyed guests are expunged after a while, and an expunging that has failed is taken up again. */
export const expungeReconciler = reconciler({
  name: 'vm.expunge',
  everySeconds: 5,
  wakeOn: [],
  run: async (services) => {
    const { db, settings } = services;
    const now = Date.now();
    if (now - lastRetryMs >= RETRY_SECONDS * 1000) {
      lastRetryMs = now;
      const halfway = await db.rows<{ id: Id<'machine'> }>(
        `${GUESTS} AND m.state = 'Expunging' AND ${IDLE}
            AND NOT EXISTS (SELECT 1 FROM job f WHERE f.instance_id = v.id AND f.state = 'Failed' AND f.completed_at > ?) LIMIT 500`,
        [new Date(now - FAILED_PAUSE_SECONDS * 1000)],
      );
      await expunge(services, halfway);
    }
    if (now - lastMs < settings.get(expungeIntervalSeconds) * 1000) return;
    lastMs = now;
    const due = await db.rows<{ id: Id<'machine'> }>(`${GUESTS} AND m.state = 'Destroyed' AND v.destroyed_at < ? AND ${IDLE} LIMIT 500`, [
      new Date(now - settings.get(expungeDelaySeconds) * 1000),
    ]);
    await expunge(services, due);
  },
});

async function expunge({ jobs }: Services, guests: readonly { readonly id: Id<'machine'> }[]): Promise<void> {
  for (const { id } of guests)
    await jobs.start(expungeVmSaga, { id }, { requestId: 'vm.expunge', instance: { type: 'VirtualMachine', id } });
}
