import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { clusterKind, hypervisorNames, lockCluster, lockZone, podKind, zoneKind } from '../../infra/index.ts';
import { type StoragePoolRow, storagePools } from '../entities.ts';
import { finish } from '../finish.ts';
import { readPoolUrl, readTags } from '../rules.ts';
import { createStoragePoolSaga } from '../sagas/create-storage-pool.ts';
import { loadStoragePools, storagePoolView } from '../views.ts';

const FINISH_SECONDS = 600;

export const createStoragePool = command({
  name: 'createStoragePool',
  about: 'Adds primary storage to a cluster, or to all hosts of a zone, and attaches it to the hosts that are up.',
  access: 'admin',
  event: { type: 'STORAGE.POOL.CREATE', text: 'adding storage pool', resource: 'StoragePool' },
  params: {
    name: required(p.string('the name of the storage pool')),
    url: required(p.string('where it is: nfs://server/path or SharedMountPoint://localhost/path')),
    zoneid: required(p.entity('the zone', zoneKind, 'use')),
    podid: p.entity('the pod of the cluster', podKind, 'use'),
    clusterid: p.entity('the cluster whose hosts will reach it', clusterKind, 'use'),
    scope: p.word('CLUSTER, or ZONE for all hosts of the zone that have its hypervisor', ['CLUSTER', 'ZONE']),
    hypervisor: p.word('the hypervisor of those hosts, for the scope ZONE', hypervisorNames),
    provider: p.word('who provides it', ['DefaultPrimary']),
    tags: p.string('tags that offerings can ask for, with commas between them'),
  },
  reply: reply.one(storagePoolView),
  run: async (context, { name, url, zoneid: zone, podid: pod, clusterid: cluster, hypervisor, tags, ...params }) => {
    const { db, jobs, requestId } = context;
    if (name.trim() === '') throw new CloudError('InvalidParameter', 'the name of the storage pool is empty');
    const scope = params.scope ?? (cluster ? 'CLUSTER' : 'ZONE');
    const ofCluster = scope === 'CLUSTER' ? cluster : undefined;
    if (scope === 'CLUSTER' && !cluster) throw new CloudError('InvalidParameter', 'a storage pool of the scope CLUSTER needs clusterid');
    if (scope === 'ZONE' && cluster) throw new CloudError('InvalidParameter', 'a storage pool of the scope ZONE goes without clusterid');
    if (cluster && (cluster.zoneId !== zone.id || (pod && cluster.podId !== pod.id)))
      throw new CloudError('InvalidParameter', `the cluster ${cluster.name} is not in the zone and pod that were given`);
    const forHypervisor = ofCluster?.hypervisor ?? hypervisor;
    if (!forHypervisor) throw new CloudError('InvalidParameter', 'a storage pool of the scope ZONE needs hypervisor');
    const place = readPoolUrl(url);
    const row: StoragePoolRow = {
      id: newId('storagePool'),
      zoneId: zone.id,
      podId: ofCluster?.podId ?? null,
      clusterId: ofCluster?.id ?? null,
      name: name.trim(),
      ...place,
      scope,
      hypervisor: forHypervisor,
      state: 'Initial',
      generation: 0,
      totalBytes: 0,
      usedBytes: 0,
      allocatedBytes: 0,
      tags: readTags([tags ?? '']),
      createdAt: new Date(),
      removedAt: null,
    };
    const job = await db.transact(async (tx) => {
      // The zone's row is the lock: the same place is not made a pool twice.
      await lockZone(tx, zone.id);
      if (ofCluster) await lockCluster(tx, ofCluster.id);
      for (const other of await tx.find(storagePools, { where: { zoneId: zone.id, removedAt: IsNull() } })) {
        if (other.type !== row.type || other.server !== row.server || other.path !== row.path) continue;
        // A shared mount point has no server: another cluster may well have another one at the same path.
        if (row.type === 'SharedMountPoint' && other.clusterId !== row.clusterId && other.clusterId && row.clusterId) continue;
        throw new CloudError('InvalidParameter', `the storage pool ${other.name} is at ${url.trim()} already`);
      }
      await tx.insert(storagePools, row);
      return jobs.add(tx, createStoragePoolSaga, { poolId: row.id }, { requestId, instance: { type: 'StoragePool', id: row.id } });
    });
    jobs.ring(job);
    await finish(context, job, FINISH_SECONDS);
    const [shown] = await loadStoragePools(context, [row.id]);
    if (!shown) throw new CloudError('Internal', 'the storage pool was not written');
    return shown;
  },
});
