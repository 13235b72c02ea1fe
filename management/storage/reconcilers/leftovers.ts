import { In, IsNull } from 'typeorm';
import { call } from '../../../protocol/message.ts';
import { ListPoolFiles, RemoveVolume } from '../../../protocol/messages/storage.ts';
import type { Id } from '../../../protocol/schema.ts';
import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import { type StoragePoolRow, storagePools, type VolumeRow, volumes } from '../entities.ts';
import { hostOfPool } from '../volumes.ts';

const SETTLED_MS = 3_600_000;

/**
 * Files of volumes that are expunged for an hour are removed, should they still be there. A file that the record does not know is left
 * alone and only reported: it may belong to a newer record than ours, restored from a backup.
 */
export const leftoversReconciler = reconciler({
  name: 'storage.leftovers',
  everySeconds: 3600,
  wakeOn: [],
  run: async (services) => {
    const pools = await services.db.read.find(storagePools, { where: { removedAt: IsNull(), state: 'Up' } });
    for (const pool of pools) {
      await sweep(services, pool).catch((error: unknown) =>
        services.log.debug({ err: error, pool: pool.name }, 'the files of a storage pool could not be looked through'),
      );
    }
  },
});

export type Verdict = 'keep' | 'remove' | 'report';
/** What to do with a volume's file on a pool, by its row. */
export function judge(row: Pick<VolumeRow, 'state' | 'removedAt'> | undefined, now: number): Verdict {
  if (!row) return 'report';
  const isSettled = row.removedAt !== null && now - row.removedAt.getTime() > SETTLED_MS;
  return row.state === 'Expunged' && isSettled ? 'remove' : 'keep';
}

async function sweep({ db, agents, log }: Services, pool: StoragePoolRow): Promise<void> {
  const host = await hostOfPool(db.read, pool);
  const options = { requestId: 'storage.leftovers', linkGraceSeconds: 0 };
  const { volumes: there } = await agents.ask({ kind: 'host', id: host.id }, call(ListPoolFiles, { poolId: pool.id }), options);
  const rows = new Map<string, VolumeRow>();
  for (let i = 0; i < there.length; i += 500) {
    for (const row of await db.read.findBy(volumes, { id: In(there.slice(i, i + 500)) })) rows.set(row.id, row);
  }
  const by = (verdict: Verdict): Id<'volume'>[] => there.filter((id) => judge(rows.get(id), Date.now()) === verdict);
  const unknown = by('report');
  if (unknown.length > 0)
    log.warn(
      { pool: pool.name, count: unknown.length, examples: unknown.slice(0, 5) },
      'the storage pool holds volumes that the record does not know',
    );
  for (const volumeId of by('remove')) {
    await agents.ask({ kind: 'host', id: host.id }, call(RemoveVolume, { poolId: pool.id, volumeId }), options);
    log.info({ pool: pool.name, volumeId }, 'the file of an expunged volume was still there and is removed');
  }
}
