/** Making a guest network real, with its router, and taking it back. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { call } from '../../protocol/message.ts';
import { ApplyRouter } from '../../protocol/messages/router.ts';
import type { Id } from '../../protocol/schema.ts';
import { networkStates } from '../../protocol/states/network.ts';
import { lock, move, type Tx } from '../core/db.ts';
import type { Run } from '../core/saga.ts';
import { compileRouter, type NetworkRow, networks, takeVni } from '../network/index.ts';
import { networkOfferings } from '../offering/index.ts';
import { createSystemVm, discardSystemVm } from './create.ts';
import { type SystemVmRow, systemVms } from './entities.ts';
import { destroySystemVm, startSystemVm } from './life.ts';

const IMPLEMENT_SECONDS = 900;

export async function mustFindNetwork(tx: Tx, id: Id<'network'>): Promise<NetworkRow> {
  const network = await lock(tx, networks, { id });
  if (!network || network.removedAt) throw new CloudError('NotFound', 'the network is gone', { id });
  return network;
}
export const routersOf = (tx: Tx, networkId: Id<'network'>): Promise<SystemVmRow[]> =>
  tx.find(systemVms, { where: { networkId, kind: 'router', removedAt: IsNull() }, order: { id: 'ASC' } });

/** SQL: a guest that runs, or is about to, is in the network `n`. */
export const USED = `EXISTS (SELECT 1 FROM nic c JOIN machine m ON m.id = c.machine_id
  WHERE c.network_id = n.id AND c.removed_at IS NULL AND m.kind = 'guest' AND m.state IN ('Starting', 'Running', 'Stopping', 'Migrating'))`;
async function isUsed(tx: Tx, networkId: Id<'network'>): Promise<boolean> {
  const rows: unknown[] = await tx.query(`SELECT n.id FROM network n WHERE n.id = ? AND ${USED}`, [networkId]);
  return rows.length > 0;
}

/** Does any service of this network need a router? */
export async function needsRouter(tx: Tx, { networkOfferingId }: NetworkRow): Promise<boolean> {
  const { services } = await tx.findOneByOrFail(networkOfferings, { id: networkOfferingId });
  return Object.values(services).includes('VirtualRouter');
}

/** Makes the network real if it is not: number, router, configuration. Several at once: one does it and the others wait for it. */
export const ensureNetwork = (run: Run, networkId: Id<'network'>): Promise<void> =>
  // Others may use it as soon as it is there, so a failure further on does not take it away; unused, it is garbage like any other.
  run.kept('implement', (part) => implement(part, networkId));

async function implement(run: Run, networkId: Id<'network'>): Promise<void> {
  const claim = await run.until(
    'claim network',
    async (tx) => {
      const network = await mustFindNetwork(tx, networkId);
      if (network.state === 'Implemented' || network.state === 'Setup') {
        // Whoever is about to use it is not seen in it yet; without this it could be taken for idle until then.
        await tx.update(networks, { id: networkId }, { idleSince: null });
        return { mine: false, routerId: null };
      }
      if (network.state === 'Destroy') throw new CloudError('WrongState', `the network ${network.name} is being deleted`);
      if (network.state !== 'Allocated') return undefined;
      const vni = await takeVni(tx, network);
      const implementing = await move(tx, networks, networkStates, network, 'implement', { vni, idleSince: null });
      const routerId = (await needsRouter(tx, network))
        ? await createSystemVm(tx, { kind: 'router', zoneId: network.zoneId, network: implementing })
        : null;
      return { mine: true, routerId };
    },
    {
      timeoutSeconds: IMPLEMENT_SECONDS,
      timeoutMessage: 'the network was not ready in time',
      undo: async (tx) => {
        const network = await lock(tx, networks, { id: networkId });
        if (network?.state !== 'Implementing') return;
        for (const router of await routersOf(tx, networkId)) await discardSystemVm(tx, router.id);
        const shut = await move(tx, networks, networkStates, network, 'fail');
        await move(tx, networks, networkStates, shut, 'succeed', { vni: null });
      },
    },
  );
  if (!claim.mine) return;
  const { routerId } = claim;
  if (routerId) await run.part('router', (part) => startSystemVm(part, routerId));
  await run.step('network implemented', async (tx) => {
    const network = await mustFindNetwork(tx, networkId);
    if (network.state === 'Implementing') await move(tx, networks, networkStates, network, 'succeed');
    return null;
  });
}

/** Sends the router what it should be now, unless it has it. A network without a router has nothing to send. */
export async function applyNetwork(run: Run, networkId: Id<'network'>): Promise<void> {
  const router = await run.step('router to configure', async (tx) => {
    const network = await mustFindNetwork(tx, networkId);
    if (network.appliedGeneration >= network.configurationGeneration) return null;
    return (await routersOf(tx, networkId))[0]?.id ?? null;
  });
  if (!router) return;
  const { generation } = await run.ask('configure router', { kind: 'router', id: router }, async (services) =>
    call(ApplyRouter, await compileRouter(services, networkId, router)),
  );
  await run.step('router configured', async (tx) => {
    await tx.query('UPDATE network SET applied_generation = GREATEST(applied_generation, ?) WHERE id = ?', [generation, networkId]);
    return null;
  });
}

/**
 * Takes an implemented network back to Allocated: its router goes, its addresses stay its own. With `onlyIdle` one that is wanted again
 * by now stays as it is.
 */
export async function shutdownNetwork(run: Run, networkId: Id<'network'>, { onlyIdle }: { onlyIdle: boolean }): Promise<void> {
  const routerIds = await run.step('shutting down', async (tx) => {
    const network = await mustFindNetwork(tx, networkId);
    if (network.state === 'Allocated') return null;
    if (onlyIdle && network.state === 'Implemented' && (network.idleSince === null || (await isUsed(tx, networkId)))) return null;
    if (network.state !== 'Shutdown') await move(tx, networks, networkStates, network, 'shutdown');
    return (await routersOf(tx, networkId)).map(({ id }) => id);
  });
  if (routerIds === null) return;
  for (const id of routerIds) await run.part(`router ${id}`, (part) => destroySystemVm(part, id));
  await run.step('shut down', async (tx, { wake }) => {
    const network = await mustFindNetwork(tx, networkId);
    if (network.state === 'Shutdown')
      await move(tx, networks, networkStates, network, 'succeed', { vni: null, appliedGeneration: 0, idleSince: null });
    wake('hostNetworks');
    return null;
  });
}
