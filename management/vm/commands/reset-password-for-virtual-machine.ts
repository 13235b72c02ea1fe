import { CloudError } from '../../../protocol/errors.ts';
import { Secret } from '../../../protocol/schema.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { machines } from '../../machine/index.ts';
import { templates } from '../../template/index.ts';
import { resetPasswordSaga } from '../sagas/reset-password.ts';
import { vmKind, vmView } from '../views.ts';

export const resetPasswordForVirtualMachine = command({
  name: 'resetPasswordForVirtualMachine',
  about: 'Gives a stopped virtual machine a new password, which it fetches at its next start.',
  access: 'user',
  event: { type: 'VM.RESETPASSWORD', text: 'resetting the password of virtual machine', resource: 'VirtualMachine' },
  params: {
    id: required(p.entity('the virtual machine', vmKind, 'operate')),
    password: p.string('the new password; made up when left out', { max: 64, match: /^[\x21-\x7e]{6,64}$/ }),
  },
  reply: reply.job(vmView),
  run: async (context, { id: vm, password }) => {
    const { db, secrets } = context;
    const machine = await db.read.findOneByOrFail(machines, { id: vm.id });
    if (machine.state !== 'Stopped')
      throw new CloudError(
        'InvalidParameter',
        `the password can be reset only while the virtual machine is stopped; it is ${machine.state}`,
      );
    const template = machine.templateId ? await db.read.findOneBy(templates, { id: machine.templateId }) : null;
    if (!template?.passwordEnabled)
      throw new CloudError('InvalidParameter', 'the template of this virtual machine does not take passwords');
    const sealedPassword = password === undefined ? null : secrets.seal(new Secret(password));
    return context.start(resetPasswordSaga, { id: vm.id, sealedPassword }, { instance: { type: 'VirtualMachine', id: vm.id } });
  },
});
