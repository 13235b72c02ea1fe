import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { machines } from '../../machine/index.ts';
import { isoKind, storedImages } from '../../template/index.ts';
import { changeIsoSaga, mustBeAtRest } from '../sagas/change-iso.ts';
import { vmKind, vmView } from '../views.ts';

export const attachIso = command({
  name: 'attachIso',
  about: 'Puts an ISO into the drive of a virtual machine, in the place of what is there.',
  access: 'user',
  event: { type: 'ISO.ATTACH', text: 'attaching ISO', resource: 'VirtualMachine' },
  params: {
    id: required(p.entity('the ISO', isoKind, 'use')),
    virtualmachineid: required(p.entity('the virtual machine', vmKind, 'operate')),
  },
  reply: reply.job(vmView),
  run: async (context, { id: iso, virtualmachineid: vm }) => {
    const { db } = context;
    const machine = await db.read.findOneByOrFail(machines, { id: vm.id });
    mustBeAtRest(machine);
    const isThere = { templateId: iso.id, zoneId: machine.zoneId, state: 'DOWNLOADED', removedAt: IsNull() } as const;
    if (!(await db.read.existsBy(storedImages, isThere)))
      throw new CloudError('InvalidParameter', `the ISO ${iso.name} is not ready in the zone of the virtual machine`);
    return context.start(
      changeIsoSaga,
      { id: vm.id, isoId: iso.id },
      { instance: { type: 'VirtualMachine', id: vm.id }, text: `attaching ISO ${iso.name} to virtual machine ${vm.name}` },
    );
  },
});
