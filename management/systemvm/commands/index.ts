import { listRouters } from './list-routers.ts';
import { listSystemVmBoots } from './list-system-vm-boots.ts';
import { listSystemVms } from './list-system-vms.ts';
import { deleteNetwork, restartNetwork } from './networks.ts';
import { destroyRouter, rebootRouter, startRouter, stopRouter } from './routers.ts';
import { listCloudSshKeys, rotateCloudSshKey } from './ssh-keys.ts';
import { destroySystemVm, rebootSystemVm, startSystemVm, stopSystemVm } from './system-vms.ts';

export const systemVmCommands = [
  listSystemVms,
  startSystemVm,
  stopSystemVm,
  rebootSystemVm,
  destroySystemVm,
  listRouters,
  startRouter,
  stopRouter,
  rebootRouter,
  destroyRouter,
  deleteNetwork,
  restartNetwork,
  listSystemVmBoots,
  listCloudSshKeys,
  rotateCloudSshKey,
] as const;
