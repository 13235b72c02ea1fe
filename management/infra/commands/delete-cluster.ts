import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { resolveAlert } from '../../core/events.ts';
import { p, required } from '../../core/params.ts';
import { mustBeEmpty } from '../blockers.ts';
import { clusters } from '../entities.ts';
import { clusterKind } from '../kinds.ts';

export const deleteCluster = command({
  name: 'deleteCluster',
  about: 'Removes a cluster that has nothing in it any more.',
  access: 'admin',
  event: { type: 'CLUSTER.DELETE', text: 'deleting cluster', resource: 'Cluster' },
  params: { id: required(p.entity('the cluster', clusterKind, 'operate')) },
  reply: reply.success(),
  run: async (context, { id: { id, name } }) => {
    const alive = (table: string) => `SELECT COUNT(*) AS n FROM ${table} WHERE cluster_id = ? AND removed_at IS NULL`;
    await context.db.transact(async (tx) => {
      const cluster = await lock(tx, clusters, { id });
      if (!cluster || cluster.removedAt) return;
      await mustBeEmpty(tx, `the cluster ${name}`, [
        { one: 'host', many: 'hosts', sql: alive('host'), values: [id] },
        { one: 'primary storage pool', many: 'primary storage pools', sql: alive('storage_pool'), values: [id] },
      ]);
      await tx.update(clusters, { id }, { removedAt: new Date() });
      await resolveAlert(tx, 'cpu', id);
      await resolveAlert(tx, 'memory', id);
    });
  },
});
