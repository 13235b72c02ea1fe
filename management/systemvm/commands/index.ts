import { listRouters } from './list-routers.ts';
import { listSystemVms } from './list-system-vms.ts';
import { deleteNetwork, restartNetwork } from './networks.ts';
import { destroyRouter, rebootRouter, startRouter, stopRouter } from './routers.ts';
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
] as const;
