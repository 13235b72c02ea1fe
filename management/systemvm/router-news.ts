/** What a router tells of itself: that guests have saved their passwords, and that it is not as it was told to be. */
import { In, IsNull } from 'typeorm';
import { call } from '../../protocol/message.ts';
import { ApplyRouter, ReadRouter } from '../../protocol/messages/router.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Services } from '../core/services.ts';
import { compileRouter, guestMetadata, nics, touchNetwork } from '../network/index.ts';
import { systemVms } from './entities.ts';

/** It has rung: look at the whole of it, and make it so again where it differs. */
export async function heedRouter(services: Services, routerId: Id<'machine'>): Promise<void> {
  const { db, agents, log } = services;
  const row = await db.read.findOneBy(systemVms, { id: routerId, removedAt: IsNull() });
  if (!row?.networkId) return;
  const to = { kind: 'router', id: routerId } as const;
  const options = { requestId: 'systemVm.routers', linkGraceSeconds: 0 };
  const { drift, passwordsSaved } = await agents.ask(to, call(ReadRouter, {}), options);
  await forgetSaved(services, row.networkId, passwordsSaved);
  if (drift.length === 0) return;
  log.warn({ router: routerId, drift }, 'a router is not as it was told to be, and is told again');
  await agents.ask(to, call(ApplyRouter, await compileRouter(services, row.networkId, routerId)), options);
}

/**
 * A password that its guest has saved is kept no longer. The router's successor knows nothing of what was saved: it would hand the old
 * one out again, and the guest would take it for new at its next boot.
 */
async function forgetSaved({ db, wake }: Services, networkId: Id<'network'>, saved: Readonly<Record<string, number>>): Promise<void> {
  const addresses = Object.keys(saved);
  if (addresses.length === 0) return;
  const changed = await db.transact(async (tx) => {
    const at = await tx.findBy(nics, { networkId, address: In(addresses), removedAt: IsNull() });
    let count = 0;
    for (const { machineId, address } of at) {
      // Only that one: another may have been set since.
      const { affected } = await tx.update(
        guestMetadata,
        { machineId, passwordGeneration: saved[address ?? ''] ?? -1 },
        { password: null },
      );
      count += affected ?? 0;
    }
    if (count > 0) await touchNetwork(tx, networkId);
    return count > 0;
  });
  if (changed) wake('router');
}
