import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { machines } from '../../machine/index.ts';
import { networks, networksOf } from '../../network/index.ts';
import { osTypeKind } from '../../template/index.ts';
import { checkHostName, checkNameFree, checkUserData } from '../deploy.ts';
import { vms } from '../entities.ts';
import { writeMetadata } from '../metadata.ts';
import { userDataMaxBytes } from '../settings.ts';
import { loadVms, vmKind, vmView } from '../views.ts';

export const updateVirtualMachine = command({
  name: 'updateVirtualMachine',
  about: 'Changes names, group, user data and the like of a virtual machine. The host name counts from the next start.',
  access: 'user',
  event: { type: 'VM.UPDATE', text: 'updating virtual machine', resource: 'VirtualMachine' },
  params: {
    id: required(p.entity('the virtual machine', vmKind, 'operate')),
    name: p.string('its new host name; the machine must be stopped'),
    displayname: p.string('the new name shown to people'),
    group: p.string('its new group'),
    userdata: p.string('new user data in Base64', { max: 1_048_576 }),
    ostypeid: p.entity('its new OS type', osTypeKind, 'use'),
    haenable: p.boolean('start it elsewhere when its host is lost'),
    deleteprotection: p.boolean('protect it from being destroyed'),
    displayvm: p.boolean('show it to its owner', { adminOnly: true }),
  },
  reply: reply.one(vmView),
  run: async (context, { id: vm, name, displayname, group, userdata, ostypeid, haenable, deleteprotection, displayvm }) => {
    const userData = userdata === undefined ? undefined : checkUserData(userdata, context.settings.get(userDataMaxBytes));
    await context.db.transact(async (tx) => {
      if (name !== undefined && name !== vm.name) {
        checkHostName(name);
        const networkIds = (await networksOf(tx, vm.id)).sort();
        for (const id of networkIds) await lock(tx, networks, { id });
        const machine = await tx.findOneByOrFail(machines, { id: vm.id });
        if (machine.state !== 'Stopped')
          throw new CloudError('InvalidParameter', 'the host name can be changed only while the virtual machine is stopped');
        await checkNameFree(tx, { hostName: name, networkIds, except: vm.id });
      }
      await tx.update(
        vms,
        { id: vm.id },
        {
          name: name ?? vm.name,
          displayName: displayname ?? vm.displayName,
          group: group ?? vm.group,
          userData: userData ?? vm.userData,
          osTypeId: ostypeid?.id ?? vm.osTypeId,
          deleteProtection: deleteprotection ?? vm.deleteProtection,
          displayVm: displayvm ?? vm.displayVm,
        },
      );
      if (haenable !== undefined) await tx.update(machines, { id: vm.id }, { haEnabled: haenable });
      await writeMetadata(tx, vm.id);
    });
    context.wake('router');
    const [shown] = await loadVms(context.db, [vm.id]);
    if (!shown) throw new CloudError('NotFound', 'the virtual machine is gone');
    return shown;
  },
});
