import { call } from '../../../protocol/message.ts';
import { DetachPool } from '../../../protocol/messages/storage.ts';
import type { Id } from '../../../protocol/schema.ts';
import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import { storagePoolHosts, storagePools } from '../entities.ts';
import { attachedStates, attachPool } from '../pools.ts';
import { REACHES } from '../rules.ts';

/**
 * Every host that is up has the pools of its scope, and lets go of those that were removed while it was away. A pool that a host could
 * not use is tried again, as its file server may be back.
 */
export const attachReconciler = reconciler({
  name: 'storage.attach',
  everySeconds: 60,
  wakeOn: ['agent', 'storage'],
  run: async (services) => {
    await attachMissing(services);
    await detachRemoved(services);
  },
});

async function attachMissing(services: Services): Promise<void> {
  const { db } = services;
  const missing = await db.rows<{ poolId: Id<'storagePool'>; hostId: Id<'host'>; hostName: string }>(
    `SELECT p.id AS poolId, h.id AS hostId, h.name AS hostName FROM storage_pool p JOIN host h ON ${REACHES} JOIN agent a ON a.id = h.id
       LEFT JOIN storage_pool_host ph ON ph.pool_id = p.id AND ph.host_id = h.id
      WHERE p.removed_at IS NULL AND p.state IN (?) AND p.state <> 'Attaching' AND h.removed_at IS NULL AND a.state = 'Up'
        AND (ph.pool_id IS NULL OR (ph.error IS NOT NULL AND ph.updated_at < ?)) ORDER BY ph.updated_at LIMIT 200`,
    [attachedStates, new Date(Date.now() - RETRY_MS)],
  );
  for (const { poolId, hostId, hostName } of missing) {
    const pool = await db.read.findOneBy(storagePools, { id: poolId });
    if (pool) await attachPool(services, pool, { id: hostId, name: hostName }, 'storage.attach');
  }
}
const RETRY_MS = 50_000;

async function detachRemoved({ db, agents, log }: Services): Promise<void> {
  const left = await db.rows<{ poolId: Id<'storagePool'>; hostId: Id<'host'>; isGone: number; isUp: number }>(
    `SELECT ph.pool_id AS poolId, ph.host_id AS hostId, h.id IS NULL OR h.removed_at IS NOT NULL AS isGone, COALESCE(a.state, '') = 'Up' AS isUp
       FROM storage_pool_host ph JOIN storage_pool p ON p.id = ph.pool_id LEFT JOIN host h ON h.id = ph.host_id LEFT JOIN agent a ON a.id = h.id
      WHERE p.removed_at IS NOT NULL OR h.id IS NULL OR h.removed_at IS NOT NULL LIMIT 200`,
  );
  for (const { poolId, hostId, isGone, isUp } of left) {
    if (!isGone && !isUp) continue;
    try {
      if (!isGone)
        await agents.ask({ kind: 'host', id: hostId }, call(DetachPool, { poolId }), { requestId: 'storage.attach', linkGraceSeconds: 0 });
    } catch (error) {
      log.warn({ err: error, hostId, poolId }, 'a removed storage pool could not be taken from a host; it is tried again');
      continue;
    }
    await db.transact((tx) => tx.delete(storagePoolHosts, { poolId, hostId }));
  }
}
