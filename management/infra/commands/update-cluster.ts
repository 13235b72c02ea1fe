import { IsNull, Not } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { clusters, pods } from '../entities.ts';
import { clusterKind } from '../kinds.ts';
import { moveAllocation } from '../states.ts';
import { clusterView, loadCluster } from '../views.ts';
import { allocationStateParam } from './zone-params.ts';

export const updateCluster = command({
  name: 'updateCluster',
  about: 'Changes the name of a cluster, or enables and disables it.',
  access: 'admin',
  event: { type: 'CLUSTER.EDIT', text: 'updating cluster', resource: 'Cluster' },
  params: {
    id: required(p.entity('the cluster', clusterKind, 'operate')),
    clustername: p.string('new name'),
    allocationstate: allocationStateParam('Enabled or Disabled'),
  },
  reply: reply.one(clusterView),
  run: async (context, { id: { id, podId }, clustername: name, allocationstate }) => {
    await context.db.transact(async (tx) => {
      await lock(tx, pods, { id: podId });
      const cluster = await lock(tx, clusters, { id });
      if (!cluster || cluster.removedAt) throw new CloudError('NotFound', 'the cluster has been removed meanwhile');
      if (name !== undefined) {
        if (await tx.existsBy(clusters, { podId, name, id: Not(id), removedAt: IsNull() }))
          throw new CloudError('InvalidParameter', `A cluster with the name ${name} exists already in its pod`);
        await tx.update(clusters, { id }, { name });
      }
      if (allocationstate !== undefined) await moveAllocation(tx, clusters, cluster, allocationstate);
    });
    context.wake('zone');
    return loadCluster(context, id);
  },
});
