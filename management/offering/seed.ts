/** Offerings that are there from the first start. */
import { IsNull } from 'typeorm';
import { definition as consoleProxy } from '../../console-proxy/definition.ts';
import { CloudError } from '../../protocol/errors.ts';
import type { SystemVmKind, SystemVmKindName } from '../../protocol/kinds.ts';
import { definition as router } from '../../router/definition.ts';
import { definition as secondaryStorage } from '../../secondary-storage/definition.ts';
import { nextNumber } from '../core/counters.ts';
import type { Tx } from '../core/db.ts';
import type { Services } from '../core/services.ts';
import { diskOfferings, networkOfferings, type ServiceOfferingRow, serviceOfferings } from './entities.ts';
import { newDiskOffering, newNetworkOffering, newServiceOffering } from './new-rows.ts';
import type { MachineSize } from './sizes.ts';

/** Kinds of system VM, with the words that clients know their offerings by. */
const systemKinds: Readonly<Record<SystemVmKindName, { definition: SystemVmKind; type: string; name: string }>> = {
  'console-proxy': { definition: consoleProxy, type: 'consoleproxy', name: 'System Offering For Console Proxy' },
  'secondary-storage': { definition: secondaryStorage, type: 'secondarystoragevm', name: 'System Offering For Secondary Storage VM' },
  router: { definition: router, type: 'domainrouter', name: 'System Offering For Software Router' },
};

export async function seedOfferings({ db }: Pick<Services, 'db'>): Promise<void> {
  await db.transact(async (tx) => {
    const router = 'VirtualRouter';
    await once(tx, 'Small Instance', (name) =>
      tx.insert(serviceOfferings, newServiceOffering({ name, cpuCount: 1, cpuMhz: 500, memoryMib: 512 })),
    );
    await once(tx, 'Medium Instance', (name) =>
      tx.insert(serviceOfferings, newServiceOffering({ name, cpuCount: 1, cpuMhz: 1000, memoryMib: 1024 })),
    );
    await once(tx, 'disk Small', () =>
      tx.insert(diskOfferings, newDiskOffering({ name: 'Small', displayText: 'Small Disk, 5 GB', sizeGib: 5 })),
    );
    await once(tx, 'disk Medium', () =>
      tx.insert(diskOfferings, newDiskOffering({ name: 'Medium', displayText: 'Medium Disk, 20 GB', sizeGib: 20 })),
    );
    await once(tx, 'disk Large', () =>
      tx.insert(diskOfferings, newDiskOffering({ name: 'Large', displayText: 'Large Disk, 100 GB', sizeGib: 100 })),
    );
    await once(tx, 'disk Custom', () =>
      tx.insert(diskOfferings, newDiskOffering({ name: 'Custom', displayText: 'Custom Disk', sizeGib: null })),
    );
    // Guests reach the outside by default: a rule that would let them out cannot be written yet.
    await once(tx, 'DefaultIsolatedNetworkOfferingWithSourceNatService', (name) =>
      tx.insert(
        networkOfferings,
        newNetworkOffering({
          name,
          displayText: 'Offering for isolated networks with source NAT',
          state: 'Enabled',
          availability: 'Required',
          isDefault: true,
          egressDefault: 'allow',
          services: { Dhcp: router, Dns: router, UserData: router, Firewall: router, SourceNat: router },
        }),
      ),
    );
    await once(tx, 'DefaultIsolatedNetworkOffering', (name) =>
      tx.insert(
        networkOfferings,
        newNetworkOffering({
          name,
          displayText: 'Offering for isolated networks without a way outside',
          state: 'Enabled',
          isDefault: true,
          services: { Dhcp: router, Dns: router, UserData: router },
        }),
      ),
    );
    for (const { definition, type, name } of Object.values(systemKinds)) {
      const { cpuCount, cpuMhz, memoryMib } = definition;
      const known = await builtIn(tx, type);
      // A release that needs more memory for a kind brings it with its definition.
      if (known) await tx.update(serviceOfferings, { id: known.id }, { cpuCount, cpuMhz, memoryMib });
      else
        await tx.insert(
          serviceOfferings,
          newServiceOffering({ name, cpuCount, cpuMhz, memoryMib, haEnabled: true, system: true, systemVmType: type, builtIn: true }),
        );
    }
  });
}

/** Makes a default the first time only, so that what an operator deleted or renamed stays so; servers that start at once wait here. */
async function once(tx: Tx, name: string, make: (name: string) => Promise<unknown>): Promise<void> {
  if ((await nextNumber(tx, `seed.offering.${name}`)) === 1) await make(name);
}

const builtIn = (tx: Tx, systemVmType: string): Promise<ServiceOfferingRow | null> =>
  tx.findOneBy(serviceOfferings, { systemVmType, builtIn: true, removedAt: IsNull() });

/** The offering that system VMs of this kind get. */
export async function systemOfferingFor(tx: Tx, kind: SystemVmKindName): Promise<MachineSize & Pick<ServiceOfferingRow, 'id' | 'name'>> {
  const row = await builtIn(tx, systemKinds[kind].type);
  if (!row || row.cpuCount === null || row.cpuMhz === null || row.memoryMib === null)
    throw new CloudError('Internal', `there is no service offering for system VMs of kind ${kind}`);
  const { id, name, cpuCount, cpuMhz, memoryMib } = row;
  return { id, name, cpuCount, cpuMhz, memoryMib };
}
