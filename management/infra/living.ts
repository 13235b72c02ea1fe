/** Rows under which something is put: locked, so that nobody removes them before it is there. */
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import { lock, type Tx } from '../core/db.ts';
import { type ClusterRow, clusters, type ZoneRow, zones } from './entities.ts';

export async function lockZone(tx: Tx, id: Id<'zone'>): Promise<ZoneRow> {
  const zone = await lock(tx, zones, { id });
  if (!zone || zone.removedAt) throw new CloudError('NotFound', 'the zone has been removed meanwhile');
  return zone;
}

export async function lockCluster(tx: Tx, id: Id<'cluster'>): Promise<ClusterRow> {
  const cluster = await lock(tx, clusters, { id });
  if (!cluster || cluster.removedAt) throw new CloudError('NotFound', 'the cluster has been removed meanwhile');
  return cluster;
}
