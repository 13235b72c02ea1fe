import { type Area, asTables } from '../core/area.ts';
import { asCommands } from '../core/command.ts';
import { createDiskOffering } from './commands/create-disk-offering.ts';
import { createNetworkOffering } from './commands/create-network-offering.ts';
import { createServiceOffering } from './commands/create-service-offering.ts';
import { deleteDiskOffering } from './commands/delete-disk-offering.ts';
import { deleteNetworkOffering } from './commands/delete-network-offering.ts';
import { deleteServiceOffering } from './commands/delete-service-offering.ts';
import { listDiskOfferings } from './commands/list-disk-offerings.ts';
import { listNetworkOfferings } from './commands/list-network-offerings.ts';
import { listServiceOfferings } from './commands/list-service-offerings.ts';
import { updateDiskOffering } from './commands/update-disk-offering.ts';
import { updateNetworkOffering } from './commands/update-network-offering.ts';
import { updateServiceOffering } from './commands/update-service-offering.ts';
import { offeringTables } from './entities.ts';
import { seedOfferings } from './seed.ts';
import { customDiskGibMax, customDiskGibMin } from './sizes.ts';

export {
  type DiskOfferingRow,
  diskOfferings,
  type NetworkOfferingRow,
  type NetworkServiceName,
  networkOfferings,
  networkServiceNames,
  type ServiceOfferingRow,
  serviceOfferings,
} from './entities.ts';
export { systemOfferingFor } from './seed.ts';
export { networkProviders, workingServices } from './services.ts';
export { diskGibOf, type MachineSize, sizeOf } from './sizes.ts';
export { loadDiskOfferings, loadNetworkOfferings, loadServiceOfferings } from './views.ts';
export { diskOfferingKind, networkOfferingKind, serviceOfferingKind } from './visibility.ts';

export const offeringArea: Area = {
  name: 'offering',
  tables: asTables(...offeringTables),
  commands: asCommands(
    createServiceOffering,
    listServiceOfferings,
    updateServiceOffering,
    deleteServiceOffering,
    createDiskOffering,
    listDiskOfferings,
    updateDiskOffering,
    deleteDiskOffering,
    createNetworkOffering,
    listNetworkOfferings,
    updateNetworkOffering,
    deleteNetworkOffering,
  ),
  sagas: [],
  reconcilers: [],
  settings: [customDiskGibMin, customDiskGibMax],
  seed: seedOfferings,
};
