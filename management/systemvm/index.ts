import type { Id } from '../../protocol/schema.ts';
import { type Area, asSagas, asTables } from '../core/area.ts';
import { asCommands } from '../core/command.ts';
import { systemVmCommands } from './commands/index.ts';
import { configure } from './configuration.ts';
import { systemVmTables } from './entities.ts';
import { bootsReconciler } from './reconcilers/boots.ts';
import { configurationReconciler } from './reconcilers/configuration.ts';
import { deadReconciler } from './reconcilers/dead.ts';
import { evacuateReconciler } from './reconcilers/evacuate.ts';
import { idleNetworksReconciler } from './reconcilers/idle-networks.ts';
import { routersReconciler } from './reconcilers/routers.ts';
import { sshKeysReconciler } from './reconcilers/ssh-keys.ts';
import { zonesReconciler } from './reconcilers/zones.ts';
import { heedRouter } from './router-news.ts';
import { deleteNetworkSaga } from './sagas/delete-network.ts';
import { destroySystemVmSaga } from './sagas/destroy-system-vm.ts';
import { rebootSystemVmSaga } from './sagas/reboot-system-vm.ts';
import { restartNetworkSaga } from './sagas/restart-network.ts';
import { shutdownNetworkSaga } from './sagas/shutdown-network.ts';
import { startSystemVmSaga } from './sagas/start-system-vm.ts';
import { stopSystemVmSaga } from './sagas/stop-system-vm.ts';
import { systemVmSettings } from './settings.ts';

export { consoleMount } from './console-mount.ts';
export { type SystemVmRow, systemVms } from './entities.ts';
export { kinds } from './kinds.ts';
export { applyNetwork, ensureNetwork } from './networks.ts';
export { consoleSessionsMax } from './settings.ts';
export { systemFile } from './template.ts';

export const systemVmArea: Area = {
  name: 'systemvm',
  tables: asTables(...systemVmTables),
  commands: asCommands(...systemVmCommands),
  sagas: asSagas(
    startSystemVmSaga,
    stopSystemVmSaga,
    rebootSystemVmSaga,
    destroySystemVmSaga,
    shutdownNetworkSaga,
    deleteNetworkSaga,
    restartNetworkSaga,
  ),
  reconcilers: [
    bootsReconciler,
    sshKeysReconciler,
    evacuateReconciler,
    configurationReconciler,
    zonesReconciler,
    deadReconciler,
    routersReconciler,
    idleNetworksReconciler,
  ],
  settings: systemVmSettings,
  agentHooks: {
    prepare: configure,
    beat: async ({ db }, { id }, { consoleProxy, secondaryStorage }) => {
      const load = consoleProxy?.sessions ?? secondaryStorage?.activeCommands;
      if (load !== undefined) await db.rows('UPDATE agent SET `load` = ? WHERE id = ? AND `load` <> ?', [load, id, load]);
    },
    // A bell may have been lost with the link.
    up: async (services, { kind, id }) => {
      if (kind === 'router') await heedRouter(services, id as Id<'machine'>);
    },
    bell: async (services, { kind, id }, subject) => {
      if (kind === 'router' && subject === 'router') await heedRouter(services, id as Id<'machine'>);
    },
  },
};
