import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { AttachPool, DetachPool } from '../../../protocol/messages/storage.ts';
import { type Id, type Infer, s } from '../../../protocol/schema.ts';
import { storagePoolStates } from '../../../protocol/states/storage.ts';
import { lock, move } from '../../core/db.ts';
import { saga } from '../../core/saga.ts';
import { hosts } from '../../infra/index.ts';
import { storagePools } from '../entities.ts';
import { noteReach, specOf, upHostsOf } from '../pools.ts';

const WAIT_SECONDS = 30;

/** Attaches a new pool to every host that is up in its scope. One that refuses undoes it all; one that went away gets it when it is back. */
export const createStoragePoolSaga = saga({
  name: 'storagePool.create',
  version: 1,
  input: s.object({ poolId: s.id('storagePool') }),
  run: async (run, { poolId }) => {
    const spec = await run.step(
      'attaching',
      async (tx) => {
        const pool = await tx.findOneByOrFail(storagePools, { id: poolId });
        return specOf(await move(tx, storagePools, storagePoolStates, pool, 'attach'));
      },
      async (tx) => {
        const pool = await lock(tx, storagePools, { id: poolId });
        if (pool?.state === 'Attaching') await move(tx, storagePools, storagePoolStates, pool, 'fail', { removedAt: new Date() });
      },
    );
    const hostIds = await run.until(
      'hosts',
      async (tx) => {
        const up = await upHostsOf(tx, { id: poolId });
        return up.length > 0 ? up : undefined;
      },
      { timeoutSeconds: WAIT_SECONDS, timeoutMessage: 'no host that would reach the storage pool is up; add a host first' },
    );
    const usages: { hostId: Id<'host'>; usage: Infer<typeof AttachPool.answer> }[] = [];
    for (const hostId of hostIds) {
      try {
        const usage = await run.part(`host ${hostId}`, (part) =>
          part.ask('attach', { kind: 'host', id: hostId }, call(AttachPool, { pool: spec }), call(DetachPool, { poolId })),
        );
        usages.push({ hostId, usage });
      } catch (error) {
        if (!(error instanceof CloudError)) throw error;
        if (error.code === 'Unreachable') continue;
        const name = await run.step(`name of host ${hostId}`, async (tx) => (await tx.findOneBy(hosts, { id: hostId }))?.name ?? hostId);
        throw new CloudError(error.code, `the host ${name} cannot use the storage pool: ${error.message}`, { cause: error });
      }
    }
    const [first] = usages;
    if (!first) throw new CloudError('Unreachable', 'no host that would reach the storage pool answers');
    await run.step('up', async (tx, { wake }) => {
      const pool = await tx.findOneByOrFail(storagePools, { id: poolId });
      await move(tx, storagePools, storagePoolStates, pool, 'succeed', { ...first.usage });
      for (const { hostId } of usages) await noteReach(tx, pool, await tx.findOneByOrFail(hosts, { id: hostId }), null);
      wake('storage');
      return null;
    });
    return null;
  },
});
