/** A guest's life, as parts of sagas. */

import type { MachineSpec } from '../../protocol/messages/machine.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Run } from '../core/saga.ts';
import { machines, startMachine } from '../machine/index.ts';
import { networksOf } from '../network/index.ts';
import { ensureImage, volumesOf } from '../storage/index.ts';
import { applyNetwork, ensureNetwork } from '../systemvm/index.ts';

/** Makes the guest's networks real, tells their routers of it, and starts it. */
export async function startGuest(run: Run, machineId: Id<'machine'>, hostId: Id<'host'> | null): Promise<void> {
  const { networkIds, isoId, bootsIso } = await run.step('networks of the guest', async (tx) => {
    const machine = await tx.findOneByOrFail(machines, { id: machineId });
    // A guest without a template boots what is in its drive until something is installed.
    return {
      networkIds: await networksOf(tx, machineId),
      isoId: machine.isoId,
      bootsIso: machine.templateId === null && machine.isoId !== null,
    };
  });
  for (const networkId of networkIds) {
    await run.part(`network ${networkId}`, async (part) => {
      await ensureNetwork(part, networkId);
      await applyNetwork(part, networkId);
    });
  }
  const boot: MachineSpec['boot'] = bootsIso ? { kind: 'cdrom' } : { kind: 'disk' };
  await startMachine(run, {
    machineId,
    hostId,
    boot: async () => boot,
    before: async (part, host) => {
      if (!isoId) return;
      const poolId = await part.step('pool of the ISO', async (tx) => (await volumesOf(tx, machineId))[0]?.poolId ?? null);
      if (poolId) await ensureImage(part, { poolId, imageId: isoId, hostId: host, label: 'ISO' });
    },
  });
}
