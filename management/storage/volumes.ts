/** Making volumes real on a pool, and removing them: parts of sagas. */
import { IsNull, Not } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { call } from '../../protocol/message.ts';
import { CreateVolume, EnsureImage, RemoveVolume } from '../../protocol/messages/storage.ts';
import type { Id } from '../../protocol/schema.ts';
import { volumeStates } from '../../protocol/states/storage.ts';
import { lock, move, type Tx } from '../core/db.ts';
import type { Run } from '../core/saga.ts';
import type { Services } from '../core/services.ts';
import { agents } from '../core/tables.ts';
import { type HostRow, hosts } from '../infra/index.ts';
import { diskOfferings, serviceOfferings } from '../offering/index.ts';
import { storedImages, templates } from '../template/index.ts';
import { imageCopies, type StoragePoolRow, storagePoolHosts, storagePools, type VolumeRow, volumes } from './entities.ts';
import { hasTags, REACHES, reaches } from './rules.ts';
import { storageDisableThreshold, storageOverprovisioning } from './settings.ts';

export interface NewVolume {
  readonly accountId: VolumeRow['accountId'];
  readonly domainId: VolumeRow['domainId'];
  readonly zoneId: Id<'zone'>;
  readonly machineId: Id<'machine'> | null;
  readonly templateId: Id<'template'> | null;
  readonly diskOfferingId: Id<'diskOffering'> | null;
  readonly serviceOfferingId: Id<'serviceOffering'> | null;
  readonly type: VolumeRow['type'];
  readonly device: number | null;
  readonly name: string;
  readonly sizeBytes: number;
  readonly system: boolean;
}

/** Writes a volume that exists on no pool yet. */
export async function allocateVolume(tx: Tx, volume: NewVolume): Promise<Id<'volume'>> {
  const id = newId('volume');
  await tx.insert(volumes, {
    ...volume,
    id,
    poolId: null,
    state: 'Allocated',
    generation: 0,
    createdAt: new Date(),
    attachedAt: volume.machineId ? new Date() : null,
    removedAt: null,
  });
  return id;
}

export const volumesOf = (tx: Tx, machineId: Id<'machine'>): Promise<VolumeRow[]> =>
  tx.find(volumes, { where: { machineId, removedAt: IsNull() }, order: { device: 'ASC' } });

/** Makes the volume exist on a pool that `hostId` reaches: picks the pool, brings the image, makes the overlay. Nothing when it is Ready. */
export async function ensureVolume(run: Run, volumeId: Id<'volume'>, hostId: Id<'host'>): Promise<void> {
  const to = { kind: 'host', id: hostId } as const;
  const plan = await run.step(
    `pool of volume ${volumeId}`,
    async (tx, { settings }) => {
      const volume = await lock(tx, volumes, { id: volumeId });
      if (!volume) throw new CloudError('NotFound', 'the volume is gone');
      const host = await tx.findOneByOrFail(hosts, { id: hostId });
      if (volume.state === 'Ready') {
        await checkReach(tx, volume, host);
        return { done: true, poolId: volume.poolId, imageId: null, sizeBytes: volume.sizeBytes };
      }
      const pool = volume.poolId
        ? await tx.findOneByOrFail(storagePools, { id: volume.poolId })
        : await takeRoom(tx, host, volume, settings);
      await move(tx, volumes, volumeStates, volume, volume.state === 'Creating' ? 'retry' : 'create', { poolId: pool.id });
      return { done: false, poolId: pool.id, imageId: volume.templateId, sizeBytes: volume.sizeBytes };
    },
    async (tx) => {
      const volume = await lock(tx, volumes, { id: volumeId });
      if (volume?.state !== 'Creating' || !volume.poolId) return;
      await giveRoom(tx, volume.poolId, volume.sizeBytes);
      await move(tx, volumes, volumeStates, volume, 'fail', { poolId: null });
    },
  );
  if (plan.done || !plan.poolId) return;
  const { poolId, imageId, sizeBytes } = plan;
  if (imageId) await ensureImage(run, { poolId, imageId, hostId, label: volumeId });
  await run.ask(
    `create volume ${volumeId}`,
    to,
    call(CreateVolume, { poolId, volumeId, sizeBytes, imageId }),
    call(RemoveVolume, { poolId, volumeId }),
  );
  await run.step(
    `volume ${volumeId} ready`,
    async (tx) => {
      const volume = await lock(tx, volumes, { id: volumeId });
      if (volume) await move(tx, volumes, volumeStates, volume, 'succeed');
      return null;
    },
    async (tx) => {
      const volume = await lock(tx, volumes, { id: volumeId });
      if (volume?.state === 'Ready') await move(tx, volumes, volumeStates, volume, 'unmake');
    },
  );
}

/** Brings an image to a pool through a host, unless it is there. Several at once are safe: the host makes the file once. */
export async function ensureImage(
  run: Run,
  { poolId, imageId, hostId, label }: { poolId: Id<'storagePool'>; imageId: Id<'template'>; hostId: Id<'host'>; label: string },
): Promise<void> {
  const there = await run.step(
    `image for ${label}`,
    async (tx) => (await tx.findOneBy(imageCopies, { poolId, templateId: imageId }))?.state === 'Ready',
  );
  if (there) return;
  const answer = await run.ask(`bring image for ${label}`, { kind: 'host', id: hostId }, async (services) =>
    call(EnsureImage, { poolId, imageId, ...(await imageSource(services, imageId, hostId)) }),
  );
  await run.step(`image for ${label} ready`, async (tx) => {
    const inserted = await tx.query(
      `INSERT IGNORE INTO image_copy (id, pool_id, template_id, state, generation, size_bytes, virtual_size_bytes, created_at) VALUES (?, ?, ?, 'Ready', 0, ?, ?, ?)`,
      [newId('imageCopy'), poolId, imageId, answer.sizeBytes, answer.virtualSizeBytes, new Date()],
    );
    if (inserted.affectedRows === 1)
      await tx.query('UPDATE storage_pool SET allocated_bytes = allocated_bytes + ? WHERE id = ?', [answer.sizeBytes, poolId]);
    return null;
  });
}

/** Where a host fetches an image from: a secondary storage VM of its zone, or for the system VM template a management server. */
async function imageSource(
  { db, config }: Services,
  templateId: Id<'template'>,
  hostId: Id<'host'>,
): Promise<{ url: string; sha256: string; format: 'qcow2' | 'iso' }> {
  const host = await db.read.findOneByOrFail(hosts, { id: hostId });
  const template = await db.read.findOneByOrFail(templates, { id: templateId });
  const stored = await db.read.find(storedImages, { where: { templateId, zoneId: host.zoneId, state: 'DOWNLOADED', removedAt: IsNull() } });
  const image = stored[0];
  if (!image?.sha256) throw new CloudError('ResourceUnavailable', `the template ${template.name} is not ready in this zone`);
  const format = template.kind === 'iso' ? 'iso' : 'qcow2';
  if (image.storeId === null) return { url: `https://${config.advertise[0]}/files/${image.sha256}.qcow2`, sha256: image.sha256, format };
  const servers = await db.read.find(agents, { where: { kind: 'secondary-storage', zoneId: host.zoneId, state: 'Up' } });
  const server = servers.find(({ address }) => address !== null);
  if (!server)
    throw new CloudError('Unreachable', 'no secondary storage VM is up in this zone; the template cannot be brought to the host now');
  return { url: `https://${server.address}:8210/images/${templateId}`, sha256: image.sha256, format };
}

/** Removes volumes for good, through a host that reaches them. Volumes that never existed on a pool only lose their row. */
export async function expungeVolumes(run: Run, volumeIds: readonly Id<'volume'>[]): Promise<void> {
  for (const volumeId of volumeIds) {
    const at = await run.step(`expunge volume ${volumeId}`, async (tx) => {
      const volume = await lock(tx, volumes, { id: volumeId });
      if (!volume || volume.state === 'Expunged') return null;
      const doomed = ['Destroy', 'Expunging'].includes(volume.state) ? volume : await move(tx, volumes, volumeStates, volume, 'destroy');
      await move(tx, volumes, volumeStates, doomed, 'expunge');
      if (!volume.poolId) return { poolId: null, hostId: null };
      const pool = await tx.findOneByOrFail(storagePools, { id: volume.poolId });
      return { poolId: pool.id, hostId: (await hostOfPool(tx, pool)).id };
    });
    if (!at) continue;
    const { poolId, hostId } = at;
    if (poolId && hostId)
      await run.ask(`remove volume ${volumeId}`, { kind: 'host', id: hostId }, call(RemoveVolume, { poolId, volumeId }));
    await run.step(`volume ${volumeId} gone`, async (tx) => {
      const volume = await lock(tx, volumes, { id: volumeId });
      if (volume?.state !== 'Expunging') return null;
      if (volume.poolId) await giveRoom(tx, volume.poolId, volume.sizeBytes);
      await move(tx, volumes, volumeStates, volume, 'succeed', { removedAt: new Date(), machineId: null });
      return null;
    });
  }
}

/** A host that is up and reaches the pool; rather one that is known to have it. */
export async function hostOfPool(tx: Tx, pool: Pick<StoragePoolRow, 'id' | 'name'>): Promise<HostRow> {
  const [found] = await tx.query(
    `SELECT h.id AS id FROM storage_pool p JOIN host h ON ${REACHES} JOIN agent a ON a.id = h.id
       LEFT JOIN storage_pool_host ph ON ph.pool_id = p.id AND ph.host_id = h.id
      WHERE p.id = ? AND a.state = 'Up' AND h.removed_at IS NULL ORDER BY ph.pool_id IS NULL, ph.error IS NOT NULL, h.id LIMIT 1`,
    [pool.id],
  );
  const host = found ? await tx.findOneBy(hosts, { id: found.id }) : null;
  if (!host) throw new CloudError('Unreachable', `no host that reaches the storage pool ${pool.name} is up`);
  return host;
}

/** Hosts of the machine's zone that cannot run it, because a volume of it lies on a pool they do not reach or cannot use now. */
export async function hostsBeyondReach(tx: Tx, machineId: Id<'machine'>): Promise<ReadonlySet<Id<'host'>>> {
  const rows: { id: Id<'host'> }[] = await tx.query(
    `SELECT DISTINCT h.id AS id FROM volume v JOIN storage_pool p ON p.id = v.pool_id JOIN host h ON h.zone_id = v.zone_id AND h.removed_at IS NULL
       LEFT JOIN storage_pool_host ph ON ph.pool_id = p.id AND ph.host_id = h.id
      WHERE v.machine_id = ? AND v.removed_at IS NULL AND ((${REACHES}) IS NOT TRUE OR ph.error IS NOT NULL)`,
    [machineId],
  );
  return new Set(rows.map(({ id }) => id));
}

async function checkReach(tx: Tx, volume: VolumeRow, host: HostRow): Promise<void> {
  const pool = volume.poolId ? await tx.findOneBy(storagePools, { id: volume.poolId }) : null;
  if (!pool || !reaches(pool, host)) {
    throw new CloudError('InsufficientStorage', `the host ${host.name} does not reach the storage pool of the machine's volume`);
  }
}

/** Takes room for a volume on the emptiest pool that the host reaches and that has the tags its offering asks for. */
async function takeRoom(tx: Tx, host: HostRow, volume: VolumeRow, settings: Services['settings']): Promise<StoragePoolRow> {
  const { sizeBytes } = volume;
  const pools = await tx.find(storagePools, { where: { zoneId: host.zoneId, state: 'Up', removedAt: IsNull() } });
  const broken = await tx.find(storagePoolHosts, { where: { hostId: host.id, error: Not(IsNull()) } });
  const wanted = await tagsWanted(tx, volume);
  const reached = pools.filter((pool) => reaches(pool, host) && !broken.some(({ poolId }) => poolId === pool.id));
  const byRoom = reached
    .filter(({ tags }) => hasTags(tags, wanted))
    .map((pool) => ({
      pool,
      limit: pool.totalBytes * settings.get(storageOverprovisioning, { zone: host.zoneId, storagepool: pool.id }),
      full: pool.totalBytes > 0 && pool.usedBytes / pool.totalBytes > settings.get(storageDisableThreshold, { zone: host.zoneId }),
    }))
    .sort((a, b) => b.limit - b.pool.allocatedBytes - (a.limit - a.pool.allocatedBytes));
  for (const { pool, limit, full } of byRoom) {
    if (full) continue;
    const done = await tx.query(
      "UPDATE storage_pool SET allocated_bytes = allocated_bytes + ? WHERE id = ? AND state = 'Up' AND allocated_bytes + ? <= ?",
      [sizeBytes, pool.id, sizeBytes, limit],
    );
    if (done.affectedRows === 1) return pool;
  }
  const best = byRoom.find(({ full }) => !full);
  if (best) {
    const left = Math.max(0, best.limit - best.pool.allocatedBytes);
    throw new CloudError(
      'InsufficientStorage',
      `no storage pool has room for a volume of ${gib(sizeBytes)} GiB; the emptiest, ${best.pool.name}, has ${gib(left)} GiB left`,
    );
  }
  const [fullest] = byRoom;
  if (fullest)
    throw new CloudError('InsufficientStorage', `the storage pool ${fullest.pool.name} is too full for new volumes, and there is no other`);
  throw new CloudError(
    'InsufficientStorage',
    reached.length > 0
      ? `no storage pool of the host ${host.name} has the tags ${wanted}`
      : `no storage pool is up for the host ${host.name}`,
  );
}

/** A disk offering's tags, or those of the service offering that a root disk comes with. */
async function tagsWanted(tx: Tx, { diskOfferingId, serviceOfferingId }: VolumeRow): Promise<string | null> {
  if (diskOfferingId) return (await tx.findOneBy(diskOfferings, { id: diskOfferingId }))?.tags ?? null;
  if (serviceOfferingId) return (await tx.findOneBy(serviceOfferings, { id: serviceOfferingId }))?.storageTags ?? null;
  return null;
}
const gib = (bytes: number) => (bytes / 2 ** 30).toFixed(1);

export async function giveRoom(tx: Tx, poolId: Id<'storagePool'>, sizeBytes: number): Promise<void> {
  await tx.query('UPDATE storage_pool SET allocated_bytes = GREATEST(0, allocated_bytes - ?) WHERE id = ?', [sizeBytes, poolId]);
}
