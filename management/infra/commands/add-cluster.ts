import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { clusters, hypervisorNames, pods } from '../entities.ts';
import { podKind, zoneKind } from '../kinds.ts';
import { clusterView, loadCluster } from '../views.ts';
import { allocationStateParam } from './zone-params.ts';

export const addCluster = command({
  name: 'addCluster',
  about: 'Adds a cluster: hosts that run the same hypervisor and share primary storage.',
  access: 'admin',
  event: { type: 'CLUSTER.CREATE', text: 'creating cluster', resource: 'Cluster' },
  params: {
    zoneid: required(p.entity('zone of the cluster', zoneKind, 'operate')),
    podid: required(p.entity('pod of the cluster', podKind, 'operate')),
    clustername: required(p.string('name of the cluster')),
    clustertype: required(p.word('must be CloudManaged', ['CloudManaged'])),
    hypervisor: required(p.word('what its hosts run: KVM, or Simulator where that is allowed', hypervisorNames)),
    allocationstate: allocationStateParam('Enabled unless given'),
  },
  // The contract answers with a list of one.
  reply: reply.list(clusterView),
  run: async (context, { zoneid, podid, clustername: name, clustertype, hypervisor, allocationstate = 'Enabled' }) => {
    if (podid.zoneId !== zoneid.id) throw new CloudError('InvalidParameter', `the pod ${podid.name} is not in the zone ${zoneid.name}`);
    if (hypervisor === 'Simulator' && !context.config.simulator)
      throw new CloudError('InvalidParameter', 'simulated hosts are not allowed here: the configuration of the management server says so');
    const id = newId('cluster');
    await context.db.transact(async (tx) => {
      const pod = await lock(tx, pods, { id: podid.id });
      if (!pod || pod.removedAt) throw new CloudError('NotFound', 'the pod has been removed meanwhile');
      if (await tx.existsBy(clusters, { podId: pod.id, name, removedAt: IsNull() }))
        throw new CloudError('InvalidParameter', `A cluster with the name ${name} exists already in the pod ${pod.name}`);
      await tx.insert(clusters, {
        id,
        zoneId: zoneid.id,
        podId: pod.id,
        name,
        hypervisor,
        clusterType: clustertype,
        allocationState: allocationstate,
        managed: true,
        generation: 0,
        createdAt: new Date(),
        removedAt: null,
      });
    });
    context.wake('zone');
    return { count: 1, rows: [await loadCluster(context, id)] };
  },
});
