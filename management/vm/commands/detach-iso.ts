import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { machines } from '../../machine/index.ts';
import { changeIsoSaga, mustBeAtRest } from '../sagas/change-iso.ts';
import { vmKind, vmView } from '../views.ts';

export const detachIso = command({
  name: 'detachIso',
  about: 'Takes the ISO out of the drive of a virtual machine.',
  access: 'user',
  event: { type: 'ISO.DETACH', text: 'detaching ISO', resource: 'VirtualMachine' },
  params: { virtualmachineid: required(p.entity('the virtual machine', vmKind, 'operate')) },
  reply: reply.job(vmView),
  run: async (context, { virtualmachineid: vm }) => {
    const machine = await context.db.read.findOneByOrFail(machines, { id: vm.id });
    if (machine.isoId === null) throw new CloudError('InvalidParameter', 'The specified VM has no ISO attached to it.');
    mustBeAtRest(machine);
    return context.start(
      changeIsoSaga,
      { id: vm.id, isoId: null },
      { instance: { type: 'VirtualMachine', id: vm.id }, text: `detaching the ISO from virtual machine ${vm.name}` },
    );
  },
});
