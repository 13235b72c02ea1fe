import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { destroySystemVmSaga } from '../sagas/destroy-system-vm.ts';
import { rebootSystemVmSaga } from '../sagas/reboot-system-vm.ts';
import { startSystemVmSaga } from '../sagas/start-system-vm.ts';
import { stopSystemVmSaga } from '../sagas/stop-system-vm.ts';
import { systemVmKind, systemVmView } from '../views.ts';

const instance = (id: string) => ({ instance: { type: 'SystemVm', id } });
const forced = p.boolean('pull the plug instead of pressing the power button');

export const startSystemVm = command({
  name: 'startSystemVm',
  about: 'Starts a stopped system VM.',
  access: 'admin',
  event: { type: 'SYSTEMVM.START', text: 'starting system VM', resource: 'SystemVm' },
  params: { id: required(p.entity('the system VM', systemVmKind, 'operate')) },
  reply: reply.job(systemVmView),
  run: (context, { id: { id } }) => context.start(startSystemVmSaga, { id, isNew: false }, instance(id)),
});

export const stopSystemVm = command({
  name: 'stopSystemVm',
  about: 'Stops a running system VM; it stays stopped until it is started.',
  access: 'admin',
  event: { type: 'SYSTEMVM.STOP', text: 'stopping system VM', resource: 'SystemVm' },
  params: { id: required(p.entity('the system VM', systemVmKind, 'operate')), forced },
  reply: reply.job(systemVmView),
  run: (context, { id: { id }, forced: force = false }) => context.start(stopSystemVmSaga, { id, force }, instance(id)),
});

export const rebootSystemVm = command({
  name: 'rebootSystemVm',
  about: 'Stops a system VM and starts it again.',
  access: 'admin',
  event: { type: 'SYSTEMVM.REBOOT', text: 'rebooting system VM', resource: 'SystemVm' },
  params: { id: required(p.entity('the system VM', systemVmKind, 'operate')), forced },
  reply: reply.job(systemVmView),
  run: (context, { id: { id }, forced: force = false }) => context.start(rebootSystemVmSaga, { id, force }, instance(id)),
});

export const destroySystemVm = command({
  name: 'destroySystemVm',
  about: 'Ends a system VM for good. Where one is wanted another takes its place.',
  access: 'admin',
  event: { type: 'SYSTEMVM.DESTROY', text: 'destroying system VM', resource: 'SystemVm' },
  params: { id: required(p.entity('the system VM', systemVmKind, 'operate')) },
  reply: reply.job(systemVmView),
  run: (context, { id: { id } }) => context.start(destroySystemVmSaga, { id }, instance(id)),
});
