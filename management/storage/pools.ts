/** Pools on hosts: attaching them, and the record of who reaches what. */
import { In, IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { call } from '../../protocol/message.ts';
import { AttachPool, type PoolSpec } from '../../protocol/messages/storage.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Peer } from '../core/area.ts';
import type { Tx } from '../core/db.ts';
import { raiseAlert, resolveAlert } from '../core/events.ts';
import { gatheredRows } from '../core/gather.ts';
import type { Services } from '../core/services.ts';
import { type HostRow, hosts } from '../infra/index.ts';
import { type StoragePoolHostRow, type StoragePoolRow, storagePoolHosts, storagePools } from './entities.ts';
import { REACHES, reaches } from './rules.ts';

export const specOf = ({ id, type, path, server }: StoragePoolRow): PoolSpec => ({ id, type, path, server });

/** States in which hosts have the pool. */
export const attachedStates = ['Attaching', 'Up', 'Disabled', 'PrepareForMaintenance', 'ErrorInMaintenance', 'Maintenance'] as const;

// A thousand hosts come back at once after a restart, so what each of them needs is read for many together.
const hostsOfId = gatheredRows<Id<'host'>, HostRow>(
  (db, ids) => db.read.findBy(hosts, { id: In([...ids]) }),
  ({ id }) => id,
);
const attachedOfZone = gatheredRows<Id<'zone'>, StoragePoolRow>(
  (db, ids) => db.read.find(storagePools, { where: { zoneId: In([...ids]), state: In([...attachedStates]), removedAt: IsNull() } }),
  ({ zoneId }) => zoneId,
);
const knownOfHost = gatheredRows<Id<'host'>, StoragePoolHostRow>(
  (db, ids) => db.read.findBy(storagePoolHosts, { hostId: In([...ids]) }),
  ({ hostId }) => hostId,
);

export async function upHostsOf(tx: Tx, { id }: Pick<StoragePoolRow, 'id'>): Promise<Id<'host'>[]> {
  const rows: { id: Id<'host'> }[] = await tx.query(
    `SELECT h.id AS id FROM storage_pool p JOIN host h ON ${REACHES} JOIN agent a ON a.id = h.id
      WHERE p.id = ? AND h.removed_at IS NULL AND a.state = 'Up' ORDER BY h.id`,
    [id],
  );
  return rows.map((row) => row.id);
}

/** Remembers whether the host can use the pool; the operator is told when it cannot, and when it can again. */
export async function noteReach(tx: Tx, pool: StoragePoolRow, host: Pick<HostRow, 'id' | 'name'>, error: string | null): Promise<void> {
  await tx.query(
    'INSERT INTO storage_pool_host (pool_id, host_id, error, updated_at) VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE error = VALUES(error), updated_at = VALUES(updated_at)',
    [pool.id, host.id, error === null ? null : error.slice(0, 1024), new Date()],
  );
  if (error !== null) {
    await raiseAlert(tx, 'storageMisc', `The host ${host.name} cannot use the storage pool ${pool.name}: ${error}`, {
      zoneId: pool.zoneId,
      podId: pool.podId,
      clusterId: pool.clusterId,
      resourceId: host.id,
    });
    return;
  }
  const [others] = await tx.query('SELECT COUNT(*) AS n FROM storage_pool_host WHERE host_id = ? AND error IS NOT NULL', [host.id]);
  if (Number(others.n) === 0) await resolveAlert(tx, 'storageMisc', host.id);
}

/** Attaches a pool to a host. A failure is noted and told, and stops nothing else. */
export async function attachPool(
  { db, agents, log }: Pick<Services, 'db' | 'agents' | 'log'>,
  pool: StoragePoolRow,
  host: Pick<HostRow, 'id' | 'name'>,
  requestId: string,
): Promise<void> {
  try {
    await agents.ask({ kind: 'host', id: host.id }, call(AttachPool, { pool: specOf(pool) }), { requestId, linkGraceSeconds: 0 });
  } catch (error) {
    log.warn({ err: error, host: host.name, pool: pool.name }, 'a storage pool could not be attached to a host');
    // Without a link nothing is known of the pool; the host gets it again when it connects.
    if (error instanceof CloudError && error.code === 'Unreachable') return;
    await db.transact((tx) => noteReach(tx, pool, host, CloudError.store(error).message));
    return;
  }
  const known = (await knownOfHost(db, host.id)).find(({ poolId }) => poolId === pool.id);
  if (known?.error !== null) await db.transact((tx) => noteReach(tx, pool, host, null));
}

/** Before a host counts as Up it is told its pools; one whose file server is away must not keep it from the others. */
export async function attachPools(services: Services, { kind, id }: Peer): Promise<void> {
  if (kind !== 'host') return;
  const [host] = await hostsOfId(services.db, id as Id<'host'>);
  if (!host || host.removedAt) return;
  const pools = (await attachedOfZone(services.db, host.zoneId)).filter((pool) => reaches(pool, host));
  await Promise.all(pools.map((pool) => attachPool(services, pool, host, `prepare host ${host.name}`)));
}

/** The pool's row must be locked: volumes are put on it by changing that row. */
export async function mustHoldNoVolumes(tx: Tx, { id, name }: Pick<StoragePoolRow, 'id' | 'name'>): Promise<void> {
  const [row] = await tx.query('SELECT COUNT(*) AS n, MIN(name) AS example FROM volume WHERE pool_id = ? AND removed_at IS NULL', [id]);
  if (Number(row.n) > 0) {
    throw new CloudError(
      'InUse',
      `the storage pool ${name} still holds ${row.n} volume(s), such as ${row.example}; destroy and expunge the machines they belong to first`,
    );
  }
}
