/** What a guest is told about itself by its router. */
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import { zones } from '../infra/index.ts';
import { machines } from '../machine/index.ts';
import { guestMetadata, networksOf, touchNetwork } from '../network/index.ts';
import { serviceOfferings } from '../offering/index.ts';
import { vmKeys, vms } from './entities.ts';

/** Writes the guest's metadata from its rows; a password that is there stays. Its networks' routers will hear of it. */
export async function writeMetadata(tx: Tx, machineId: Id<'machine'>, password?: { sealed: string }): Promise<void> {
  const vm = await tx.findOneByOrFail(vms, { id: machineId });
  const machine = await tx.findOneByOrFail(machines, { id: machineId });
  const offering = await tx.findOneByOrFail(serviceOfferings, { id: machine.serviceOfferingId });
  const zone = await tx.findOneByOrFail(zones, { id: machine.zoneId });
  const keys = await tx.find(vmKeys, { where: { machineId }, order: { name: 'ASC' } });
  const known = await tx.findOneBy(guestMetadata, { machineId });
  await tx.upsert(
    guestMetadata,
    {
      machineId,
      hostName: vm.name,
      metadata: {
        'service-offering': offering.name,
        'availability-zone': zone.name,
        'instance-id': machineId,
        'vm-id': machineId,
        'cloud-identifier': 'CloudStack-{nephos}',
        'cloud-name': 'Nephos',
        ...(keys.length > 0 ? { 'public-keys': keys.map(({ publicKey }) => publicKey.trim()).join('\n') } : {}),
      },
      userData: vm.userData,
      password: password?.sealed ?? known?.password ?? null,
      passwordGeneration: (known?.passwordGeneration ?? 0) + (password ? 1 : 0),
    },
    ['machineId'],
  );
  for (const networkId of await networksOf(tx, machineId)) await touchNetwork(tx, networkId);
}
