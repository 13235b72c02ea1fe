import { CloudError } from '../../../protocol/errors.ts';
import { hostResourceStates } from '../../../protocol/states/host.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { hostView } from '../host-views.ts';
import { hostKind } from '../kinds.ts';
import { prepareMaintenance } from '../sagas/prepare-maintenance.ts';
import { maintenanceWait } from '../settings.ts';

export const prepareHostForMaintenance = command({
  name: 'prepareHostForMaintenance',
  about: 'Empties a host for maintenance: no machine is started there any more, and its system VMs are started elsewhere.',
  access: 'admin',
  event: { type: 'MAINT.PREPARE', text: 'preparing host for maintenance', resource: 'Host' },
  params: { id: required(p.entity('the host', hostKind, 'operate')) },
  reply: reply.job(hostView),
  run: (context, { id: { id, name, resourceState } }) => {
    if (!hostResourceStates.can(resourceState, 'prepareMaintenance'))
      throw new CloudError('WrongState', `the host ${name} is ${resourceState}, so it cannot be prepared for maintenance`);
    return context.start(
      prepareMaintenance,
      { hostId: id, waitSeconds: context.settings.get(maintenanceWait) },
      { instance: { type: 'Host', id } },
    );
  },
});
