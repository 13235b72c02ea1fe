import type { Id } from '../../../protocol/schema.ts';
import { reconciler } from '../../core/reconcile.ts';
import { destroySystemVmSaga } from '../sagas/destroy-system-vm.ts';

/** A system VM whose link has been away for so long is replaced. */
const LOST_SECONDS = 60;

/**
 * System VMs that have died are removed; their successors are made by those who want them. Dead is: stopped by itself, or running
 * without a link on a host that is up.
 */
export const deadReconciler = reconciler({
  name: 'systemVm.dead',
  everySeconds: 5,
  wakeOn: ['agent', 'machine'],
  run: async ({ db, jobs, log }) => {
    const dead = await db.rows<{ id: Id<'machine'>; state: string }>(
      `SELECT s.id AS id, m.state AS state FROM system_vm s JOIN machine m ON m.id = s.id JOIN agent a ON a.id = s.id
        WHERE s.removed_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM job j WHERE j.instance_id = s.id AND j.state IN ('Queued', 'Running', 'Unwinding', 'Stuck'))
          AND NOT EXISTS (SELECT 1 FROM network n WHERE n.id = s.network_id AND n.state IN ('Implementing', 'Shutdown'))
          AND ((m.state IN ('Stopped', 'Error') AND s.keep_stopped = FALSE)
            OR (s.draining = TRUE AND s.keep_stopped = TRUE AND m.state IN ('Stopped', 'Expunging', 'Running'))
            OR (m.state = 'Running' AND a.state IN ('Alert', 'Disconnected') AND a.state_since < ?
                AND EXISTS (SELECT 1 FROM agent h WHERE h.id = m.host_id AND h.state = 'Up' AND h.state_since < ?)))`,
      [new Date(Date.now() - LOST_SECONDS * 1000), new Date(Date.now() - LOST_SECONDS * 1000)],
    );
    for (const { id, state } of dead) {
      log.warn({ systemVm: id, state }, 'a system VM is dead and is removed');
      await jobs.start(destroySystemVmSaga, { id }, { requestId: 'systemVm.dead', instance: { type: 'SystemVm', id } });
    }
  },
});
