import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { MeasureStore } from '../../../protocol/messages/image.ts';
import { MeasurePool } from '../../../protocol/messages/storage.ts';
import type { Peer } from '../../core/area.ts';
import { raiseAlert, resolveAlert } from '../../core/events.ts';
import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import { agents } from '../../core/tables.ts';
import { type ImageStoreRow, imageStores } from '../../template/index.ts';
import { type StoragePoolRow, storagePools } from '../entities.ts';
import { noteReach } from '../pools.ts';
import { storageNotificationThreshold } from '../settings.ts';
import { hostOfPool } from '../volumes.ts';

const AT_ONCE = 8;

/** How full pools and image stores really are, as one host of each pool and a secondary storage VM of each zone say. */
export const measureReconciler = reconciler({
  name: 'storage.measure',
  everySeconds: 60,
  wakeOn: [],
  run: async (services) => {
    const { db } = services;
    const pools = await db.read.find(storagePools, { where: { removedAt: IsNull() } });
    await each(
      pools.filter(({ state }) => state === 'Up' || state === 'Disabled'),
      (pool) => measurePool(services, pool),
    );
    await each(await db.read.find(imageStores, { where: { removedAt: IsNull() } }), (store) => measureStore(services, store));
  },
});

async function each<T>(things: readonly T[], work: (thing: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < things.length; i += AT_ONCE) await Promise.all(things.slice(i, i + AT_ONCE).map(work));
}

async function measurePool({ db, agents: asks, settings, log }: Services, pool: StoragePoolRow): Promise<void> {
  try {
    const host = await hostOfPool(db.read, pool);
    const ask = asks.ask({ kind: 'host', id: host.id }, call(MeasurePool, { poolId: pool.id }), {
      requestId: 'storage.measure',
      linkGraceSeconds: 0,
    });
    const { totalBytes, usedBytes } = await ask.catch(async (error: unknown) => {
      // The pool has gone from the host: noted, so that it is attached again.
      if (error instanceof CloudError && ['NotFound', 'ResourceUnavailable'].includes(error.code))
        await db.transact((tx) => noteReach(tx, pool, host, error.message));
      throw error;
    });
    const isFull =
      totalBytes > 0 && usedBytes / totalBytes > settings.get(storageNotificationThreshold, { zone: pool.zoneId, storagepool: pool.id });
    await db.transact(async (tx) => {
      if (totalBytes !== pool.totalBytes || usedBytes !== pool.usedBytes)
        await tx.update(storagePools, { id: pool.id }, { totalBytes, usedBytes });
      if (!isFull) return resolveAlert(tx, 'storage', pool.id);
      const percent = Math.round((usedBytes * 100) / totalBytes);
      await raiseAlert(tx, 'storage', `The storage pool ${pool.name} is ${percent}% full`, {
        zoneId: pool.zoneId,
        podId: pool.podId,
        clusterId: pool.clusterId,
        resourceId: pool.id,
      });
    });
  } catch (error) {
    log.debug({ err: error, pool: pool.name }, 'a storage pool could not be measured');
  }
}

/** As soon as a secondary storage VM is there, so that the stores' sizes are known from the beginning. */
export async function measureStores(services: Services, { kind, id }: Peer): Promise<void> {
  if (kind !== 'secondary-storage') return;
  const agent = await services.db.read.findOneBy(agents, { id });
  if (!agent?.zoneId) return;
  const stores = await services.db.read.find(imageStores, { where: { zoneId: agent.zoneId, removedAt: IsNull() } });
  await each(stores, (store) => measureStore(services, store));
}

async function measureStore({ db, agents: asks, log }: Services, store: ImageStoreRow): Promise<void> {
  try {
    const { totalBytes, usedBytes } = await asks.ask(
      { any: 'secondary-storage', zoneId: store.zoneId },
      call(MeasureStore, { storeId: store.id }),
      { requestId: 'storage.measure', linkGraceSeconds: 0 },
    );
    if (totalBytes !== store.totalBytes || usedBytes !== store.usedBytes)
      await db.transact((tx) => tx.update(imageStores, { id: store.id }, { totalBytes, usedBytes }));
  } catch (error) {
    log.debug({ err: error, store: store.name }, 'an image store could not be measured');
  }
}
