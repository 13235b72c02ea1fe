import type { Id } from '../../../protocol/schema.ts';
import { reconciler } from '../../core/reconcile.ts';
import { shutdownNetworkSaga } from '../sagas/shutdown-network.ts';
import { networkGcIntervalSeconds, networkGcWaitSeconds } from '../settings.ts';

let lastMs = 0;

/** Networks that no running machine uses are shut down after a while; their address for source NAT stays theirs. */
export const idleNetworksReconciler = reconciler({
  name: 'network.gc',
  everySeconds: 1,
  wakeOn: [],
  run: async ({ db, jobs, settings }) => {
    if (Date.now() - lastMs < settings.get(networkGcIntervalSeconds) * 1000) return;
    lastMs = Date.now();
    const used = `EXISTS (SELECT 1 FROM nic c JOIN machine m ON m.id = c.machine_id
      WHERE c.network_id = n.id AND c.removed_at IS NULL AND m.kind = 'guest' AND m.state IN ('Starting', 'Running', 'Stopping', 'Migrating'))`;
    await db.rows(`UPDATE network n SET n.idle_since = NULL WHERE n.state = 'Implemented' AND n.idle_since IS NOT NULL AND ${used}`);
    await db.rows(`UPDATE network n SET n.idle_since = ? WHERE n.state = 'Implemented' AND n.idle_since IS NULL AND NOT ${used}`, [
      new Date(),
    ]);
    const idle = await db.rows<{ id: Id<'network'> }>(
      `SELECT n.id AS id FROM network n JOIN network_offering o ON o.id = n.network_offering_id
        WHERE n.state = 'Implemented' AND n.removed_at IS NULL AND n.idle_since < ? AND o.persistent = FALSE AND NOT ${used}
          AND NOT EXISTS (SELECT 1 FROM job j WHERE j.instance_id = n.id AND j.state IN ('Queued', 'Running', 'Unwinding'))`,
      [new Date(Date.now() - settings.get(networkGcWaitSeconds) * 1000)],
    );
    for (const { id } of idle)
      await jobs.start(shutdownNetworkSaga, { networkId: id }, { requestId: 'network.gc', instance: { type: 'Network', id } });
  },
});
