import { call } from '../../../protocol/message.ts';
import { ApplyRouter } from '../../../protocol/messages/router.ts';
import type { Id } from '../../../protocol/schema.ts';
import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import { compileRouter } from '../../network/index.ts';
import { createSystemVm } from '../create.ts';
import { mustFindNetwork, needsRouter, routersOf } from '../networks.ts';
import { startSystemVmSaga } from '../sagas/start-system-vm.ts';

/** Every implemented network that needs a router has one, and that router has the newest configuration. */
export const routersReconciler = reconciler({
  name: 'systemVm.routers',
  everySeconds: 5,
  wakeOn: ['agent', 'systemVm', 'router'],
  run: async (services) => {
    await replace(services);
    await converge(services);
  },
});

async function replace(services: Services): Promise<void> {
  const { db, jobs, log } = services;
  const bare = await db.rows<{ id: Id<'network'> }>(
    `SELECT n.id AS id FROM network n
      WHERE n.state = 'Implemented' AND n.removed_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM system_vm s WHERE s.network_id = n.id AND s.removed_at IS NULL)
        AND NOT EXISTS (SELECT 1 FROM job j WHERE j.instance_id = n.id AND j.state IN ('Queued', 'Running', 'Unwinding'))
        AND NOT EXISTS (SELECT 1 FROM job f JOIN system_vm o ON o.id = f.instance_id
             WHERE o.network_id = n.id AND f.saga = 'systemVm.start' AND f.state = 'Failed' AND f.completed_at > ?)`,
    [new Date(Date.now() - 30_000)],
  );
  for (const { id: networkId } of bare) {
    const started = await db.transact(async (tx) => {
      const network = await mustFindNetwork(tx, networkId);
      if (network.state !== 'Implemented' || (await routersOf(tx, networkId)).length > 0 || !(await needsRouter(tx, network))) return null;
      const id = await createSystemVm(tx, { kind: 'router', zoneId: network.zoneId, network });
      log.info({ network: network.name, id }, 'a network has lost its router and gets another');
      return jobs.add(tx, startSystemVmSaga, { id, isNew: true }, { requestId: 'systemVm.routers', instance: { type: 'SystemVm', id } });
    });
    if (started) jobs.ring(started);
  }
}

async function converge(services: Services): Promise<void> {
  const { db, agents, log } = services;
  const behind = await db.rows<{ id: Id<'network'>; router: Id<'machine'> }>(
    `SELECT n.id AS id, s.id AS router FROM network n JOIN system_vm s ON s.network_id = n.id AND s.removed_at IS NULL JOIN agent a ON a.id = s.id
      WHERE n.state = 'Implemented' AND a.state = 'Up' AND n.applied_generation < n.configuration_generation`,
  );
  await Promise.all(
    behind.map(async ({ id, router }) => {
      try {
        const { generation } = await agents.ask(
          { kind: 'router', id: router },
          call(ApplyRouter, await compileRouter(services, id, router)),
          { requestId: 'systemVm.routers', linkGraceSeconds: 0 },
        );
        await db.rows('UPDATE network SET applied_generation = GREATEST(applied_generation, ?) WHERE id = ?', [generation, id]);
      } catch (error) {
        log.warn({ err: error, network: id }, 'the router did not take its configuration; it is told again');
      }
    }),
  );
}
