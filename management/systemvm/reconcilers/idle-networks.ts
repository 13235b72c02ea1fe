import type { Id } from '../../../protocol/schema.ts';
import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import { USED } from '../networks.ts';
import { shutdownNetworkSaga } from '../sagas/shutdown-network.ts';
import { networkGcIntervalSeconds, networkGcWaitSeconds } from '../settings.ts';

let lastMs = 0;
let lastRetryMs = 0;
const RETRY_SECONDS = 5;
/** What made a shutdown fail is given a little time to pass. */
const FAILED_PAUSE_SECONDS = 10;
const IDLE = `NOT EXISTS (SELECT 1 FROM job j WHERE j.instance_id = n.id AND j.state IN ('Queued', 'Running', 'Unwinding'))`;

/** Networks that no running machine uses are shut down after a while; their address for source NAT stays theirs. */
export const idleNetworksReconciler = reconciler({
  name: 'network.gc',
  everySeconds: 1,
  wakeOn: [],
  run: async (services) => {
    const { db, settings } = services;
    await resume(services);
    if (Date.now() - lastMs < settings.get(networkGcIntervalSeconds) * 1000) return;
    lastMs = Date.now();
    await db.rows(`UPDATE network n SET n.idle_since = NULL WHERE n.state = 'Implemented' AND n.idle_since IS NOT NULL AND ${USED}`);
    await db.rows(`UPDATE network n SET n.idle_since = ? WHERE n.state = 'Implemented' AND n.idle_since IS NULL AND NOT ${USED}`, [
      new Date(),
    ]);
    const idle = await db.rows<{ id: Id<'network'> }>(
      `SELECT n.id AS id FROM network n JOIN network_offering o ON o.id = n.network_offering_id
        WHERE n.state = 'Implemented' AND n.removed_at IS NULL AND n.idle_since < ? AND o.persistent = FALSE AND NOT ${USED} AND ${IDLE}`,
      [new Date(Date.now() - settings.get(networkGcWaitSeconds) * 1000)],
    );
    await shutDown(services, idle);
  },
});

/** A network that is half shut down works for nobody, and guests that start wait for it: the shutdown that failed is taken up again. */
async function resume(services: Services): Promise<void> {
  if (Date.now() - lastRetryMs < RETRY_SECONDS * 1000) return;
  lastRetryMs = Date.now();
  const halfway = await services.db.rows<{ id: Id<'network'> }>(
    `SELECT n.id AS id FROM network n WHERE n.state = 'Shutdown' AND n.removed_at IS NULL AND ${IDLE}
        AND NOT EXISTS (SELECT 1 FROM job f WHERE f.instance_id = n.id AND f.state = 'Failed' AND f.completed_at > ?)`,
    [new Date(Date.now() - FAILED_PAUSE_SECONDS * 1000)],
  );
  await shutDown(services, halfway);
}

async function shutDown({ jobs }: Services, networks: readonly { readonly id: Id<'network'> }[]): Promise<void> {
  for (const { id } of networks)
    await jobs.start(shutdownNetworkSaga, { networkId: id }, { requestId: 'network.gc', instance: { type: 'Network', id } });
}
