/** Start, stop, reboot, destroy, recover and expunge: short commands around one saga each. */
import { CloudError } from '../../../protocol/errors.ts';
import type { Id } from '../../../protocol/schema.ts';
import { machineStates } from '../../../protocol/states/machine.ts';
import { command, reply } from '../../core/command.ts';
import { type Context, isRootAdmin } from '../../core/context.ts';
import { move } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { hostKind } from '../../infra/index.ts';
import { type MachineRow, machines, mustFind } from '../../machine/index.ts';
import type { VmRow } from '../entities.ts';
import { vms } from '../entities.ts';
import { destroyVmSaga } from '../sagas/destroy-vm.ts';
import { expungeVmSaga } from '../sagas/expunge-vm.ts';
import { rebootVmSaga } from '../sagas/reboot-vm.ts';
import { startVmSaga } from '../sagas/start-vm.ts';
import { stopVmSaga } from '../sagas/stop-vm.ts';
import { usersMayExpunge } from '../settings.ts';
import { loadVms, vmKind, vmView } from '../views.ts';

const id = required(p.entity('the virtual machine', vmKind, 'operate'));
const about = (vm: VmRow, doing: string) => ({
  instance: { type: 'VirtualMachine', id: vm.id },
  text: `${doing} virtual machine ${vm.name}`,
});

/** What cannot be begun is refused at once, not by a job that fails. */
async function mustBeAble({ db }: Context, vmId: Id<'machine'>, event: string): Promise<MachineRow> {
  const machine = await db.read.findOneByOrFail(machines, { id: vmId });
  if (!machineStates.can(machine.state, event)) machineStates.next(machine.state, event);
  return machine;
}

export const startVirtualMachine = command({
  name: 'startVirtualMachine',
  about: 'Starts a stopped virtual machine.',
  access: 'user',
  event: { type: 'VM.START', text: 'starting virtual machine', resource: 'VirtualMachine' },
  params: { id, hostid: p.entity('the host to start on', hostKind, 'use') },
  reply: reply.job(vmView),
  run: async (context, { id: vm, hostid }) => {
    if (hostid && !isRootAdmin(context.caller)) throw new CloudError('Forbidden', 'only root admins choose a host');
    await mustBeAble(context, vm.id, 'start');
    return context.start(startVmSaga, { id: vm.id, hostId: hostid?.id ?? null }, about(vm, 'starting'));
  },
});

export const stopVirtualMachine = command({
  name: 'stopVirtualMachine',
  about: 'Stops a running virtual machine by its power button, or by pulling the plug.',
  access: 'user',
  event: { type: 'VM.STOP', text: 'stopping virtual machine', resource: 'VirtualMachine' },
  params: { id, forced: p.boolean('pull the plug') },
  reply: reply.job(vmView),
  run: async (context, { id: vm, forced = false }) => {
    const { state } = await context.db.read.findOneByOrFail(machines, { id: vm.id });
    if (state !== 'Stopped') await mustBeAble(context, vm.id, 'stop');
    return context.start(stopVmSaga, { id: vm.id, force: forced }, about(vm, 'stopping'));
  },
});

export const rebootVirtualMachine = command({
  name: 'rebootVirtualMachine',
  about: 'Reboots a running virtual machine.',
  access: 'user',
  event: { type: 'VM.REBOOT', text: 'rebooting virtual machine', resource: 'VirtualMachine' },
  params: { id, forced: p.boolean('press the reset button instead of asking its operating system') },
  reply: reply.job(vmView),
  run: async (context, { id: vm, forced = false }) => {
    const { state } = await context.db.read.findOneByOrFail(machines, { id: vm.id });
    if (state !== 'Running') throw new CloudError('WrongState', `a virtual machine that is ${state} cannot reboot`);
    return context.start(rebootVmSaga, { id: vm.id, force: forced }, about(vm, 'rebooting'));
  },
});

export const destroyVirtualMachine = command({
  name: 'destroyVirtualMachine',
  about: 'Destroys a virtual machine; until it is expunged it can be recovered.',
  access: 'user',
  event: { type: 'VM.DESTROY', text: 'destroying virtual machine', resource: 'VirtualMachine' },
  params: { id, expunge: p.boolean('expunge it at once') },
  reply: reply.job(vmView),
  run: async (context, { id: vm, expunge = false }) => {
    if (vm.deleteProtection)
      throw new CloudError(
        'InvalidParameter',
        `the virtual machine ${vm.name} is protected from deletion; switch that off with updateVirtualMachine first`,
      );
    if (expunge) mayExpunge(context, vm);
    const { state } = await context.db.read.findOneByOrFail(machines, { id: vm.id });
    if (state === 'Starting' || state === 'Migrating') machineStates.next(state, 'destroy');
    return context.start(destroyVmSaga, { id: vm.id, expunge }, about(vm, 'destroying'));
  },
});

export const recoverVirtualMachine = command({
  name: 'recoverVirtualMachine',
  about: 'Brings a destroyed virtual machine back, stopped.',
  access: 'user',
  event: { type: 'VM.RECOVER', text: 'recovering virtual machine', resource: 'VirtualMachine' },
  params: { id },
  reply: reply.one(vmView),
  run: async (context, { id: vm }) => {
    mayExpunge(context, vm);
    await context.db.transact(async (tx) => {
      await move(tx, machines, machineStates, await mustFind(tx, vm.id), 'recover');
      await tx.update(vms, { id: vm.id }, { destroyedAt: null });
    });
    const [shown] = await loadVms(context.db, [vm.id]);
    if (!shown) throw new CloudError('NotFound', 'the virtual machine is gone');
    return shown;
  },
});

export const expungeVirtualMachine = command({
  name: 'expungeVirtualMachine',
  about: 'Removes a destroyed virtual machine for good.',
  access: 'user',
  event: { type: 'VM.EXPUNGE', text: 'expunging virtual machine', resource: 'VirtualMachine' },
  params: { id },
  reply: reply.job(null),
  run: async (context, { id: vm }) => {
    mayExpunge(context, vm);
    const { state } = await context.db.read.findOneByOrFail(machines, { id: vm.id });
    if (!['Destroyed', 'Expunging', 'Error'].includes(state))
      throw new CloudError('WrongState', `a virtual machine that is ${state} cannot be expunged; destroy it first`);
    return context.start(expungeVmSaga, { id: vm.id }, about(vm, 'expunging'));
  },
});

function mayExpunge({ caller, settings }: Context, vm: VmRow): void {
  if (caller.accountType !== 'user' || settings.get(usersMayExpunge, { account: vm.accountId, domain: vm.domainId })) return;
  throw new CloudError('Forbidden', 'users may not expunge or recover virtual machines here; ask an administrator, or leave expunge out');
}
