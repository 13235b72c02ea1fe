import { type Area, asSagas, asTables } from '../core/area.ts';
import { asCommands } from '../core/command.ts';
import { attachIso } from './commands/attach-iso.ts';
import { createConsoleEndpoint } from './commands/create-console-endpoint.ts';
import { deployVirtualMachine } from './commands/deploy-virtual-machine.ts';
import { detachIso } from './commands/detach-iso.ts';
import {
  destroyVirtualMachine,
  expungeVirtualMachine,
  rebootVirtualMachine,
  recoverVirtualMachine,
  startVirtualMachine,
  stopVirtualMachine,
} from './commands/life.ts';
import { listCapacity } from './commands/list-capacity.ts';
import { listConsoleSessions } from './commands/list-console-sessions.ts';
import { listVirtualMachines } from './commands/list-virtual-machines.ts';
import { resetPasswordForVirtualMachine } from './commands/reset-password-for-virtual-machine.ts';
import { createSSHKeyPair, deleteSSHKeyPair, listSSHKeyPairs, registerSSHKeyPair } from './commands/ssh-key-pairs.ts';
import { updateVirtualMachine } from './commands/update-virtual-machine.ts';
import { consolesReconciler } from './consoles.ts';
import { vmTables } from './entities.ts';
import { expungeReconciler } from './reconcilers.ts';
import { changeIsoSaga } from './sagas/change-iso.ts';
import { deployVmSaga } from './sagas/deploy-vm.ts';
import { destroyVmSaga } from './sagas/destroy-vm.ts';
import { expungeVmSaga } from './sagas/expunge-vm.ts';
import { rebootVmSaga } from './sagas/reboot-vm.ts';
import { resetPasswordSaga } from './sagas/reset-password.ts';
import { startVmSaga } from './sagas/start-vm.ts';
import { stopVmSaga } from './sagas/stop-vm.ts';
import { vmSettings } from './settings.ts';

export const vmArea: Area = {
  name: 'vm',
  tables: asTables(...vmTables),
  commands: asCommands(
    deployVirtualMachine,
    startVirtualMachine,
    stopVirtualMachine,
    rebootVirtualMachine,
    destroyVirtualMachine,
    recoverVirtualMachine,
    expungeVirtualMachine,
    updateVirtualMachine,
    listVirtualMachines,
    resetPasswordForVirtualMachine,
    attachIso,
    detachIso,
    createSSHKeyPair,
    registerSSHKeyPair,
    deleteSSHKeyPair,
    listSSHKeyPairs,
    createConsoleEndpoint,
    listConsoleSessions,
    listCapacity,
  ),
  sagas: asSagas(deployVmSaga, startVmSaga, stopVmSaga, rebootVmSaga, destroyVmSaga, expungeVmSaga, resetPasswordSaga, changeIsoSaga),
  reconcilers: [consolesReconciler, expungeReconciler],
  settings: vmSettings,
};
