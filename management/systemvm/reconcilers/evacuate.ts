import type { Id } from '../../../protocol/schema.ts';
import { reconciler } from '../../core/reconcile.ts';
import { rebootSystemVmSaga } from '../sagas/reboot-system-vm.ts';

/** System VMs leave a host that is prepared for maintenance: started again, they go where there is room. */
export const evacuateReconciler = reconciler({
  name: 'systemVm.evacuate',
  everySeconds: 5,
  wakeOn: ['host'],
  run: async ({ db, jobs, log }) => {
    const leaving = await db.rows<{ id: Id<'machine'>; host: string }>(
      `SELECT s.id AS id, h.name AS host FROM system_vm s JOIN machine m ON m.id = s.id JOIN host h ON h.id = m.host_id
        WHERE h.resource_state = 'PrepareForMaintenance' AND m.state = 'Running' AND s.removed_at IS NULL
          AND EXISTS (SELECT 1 FROM host o JOIN agent a ON a.id = o.id
               WHERE o.zone_id = h.zone_id AND o.id <> h.id AND o.resource_state = 'Enabled' AND o.removed_at IS NULL AND a.state = 'Up')
          AND NOT EXISTS (SELECT 1 FROM job j WHERE j.instance_id = s.id AND j.state IN ('Queued', 'Running', 'Unwinding'))`,
    );
    for (const { id, host } of leaving) {
      log.info({ systemVm: id, host }, 'a system VM leaves a host that is prepared for maintenance');
      await jobs.start(rebootSystemVmSaga, { id, force: false }, { requestId: 'systemVm.evacuate', instance: { type: 'SystemVm', id } });
    }
  },
});
