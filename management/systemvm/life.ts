/** Starting and removing system VMs, as parts of sagas. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { call } from '../../protocol/message.ts';
import { EnsureBootFiles } from '../../protocol/messages/host.ts';
import { DescribeSystemVm } from '../../protocol/messages/systemvm.ts';
import type { Id } from '../../protocol/schema.ts';
import { removeAgent } from '../core/agent-records.ts';
import { lock } from '../core/db.ts';
import type { Run } from '../core/saga.ts';
import { agents } from '../core/tables.ts';
import { expungeMachine, machines, startMachine, stopMachine } from '../machine/index.ts';
import { bootFiles, bootOf } from './boot.ts';
import { systemVms } from './entities.ts';

/** From power on to the agent's first answer, on a slow machine that emulates everything and starts three of them at once. */
const BOOT_SECONDS = 300;
/** Until a start that has been cut short is undone. */
const SETTLE_SECONDS = 120;

/** Starts it and waits until its agent is Up and has taken its configuration; only then is it Running. */
export async function startSystemVm(run: Run, id: Id<'machine'>): Promise<void> {
  const kind = await run.step('kind', async (tx) => (await tx.findOneByOrFail(systemVms, { id })).kind);
  let version = '';
  await startMachine(run, {
    machineId: id,
    hostId: null,
    boot: (services) => bootOf(services, id),
    before: async (part, host) => {
      await part.step('still wanted', async (tx) => {
        const agent = await tx.findOneBy(agents, { id });
        // Without an agent it would boot for nobody, on one host after the other.
        if (!agent || agent.state === 'Removed') throw new CloudError('WrongState', 'the system VM is being destroyed');
        return null;
      });
      await part.ask('boot files', { kind: 'host', id: host }, async (services) => call(EnsureBootFiles, await bootFiles(services, id)));
    },
    after: async (part) => {
      const about = await part.ask('agent', { kind, id }, call(DescribeSystemVm, {}), undefined, { linkGraceSeconds: BOOT_SECONDS });
      version = about.version.slice(0, 80);
    },
    settle: async (tx) => {
      await tx.update(systemVms, { id }, { version, keepStopped: false });
    },
  });
}

/** Ends a system VM for good, whatever state it is in. Its successor is another one. */
export async function destroySystemVm(run: Run, id: Id<'machine'>): Promise<void> {
  const gone = await run.step('agent removed', async (tx, { agents }) => {
    const row = await tx.findOneBy(systemVms, { id, removedAt: IsNull() });
    if (!row) return true;
    await tx.update(systemVms, { id }, { keepStopped: true, draining: true });
    await removeAgent(tx, id);
    agents.drop(id, 'the system VM is destroyed');
    return false;
  });
  if (gone) return;
  // Whoever is starting it gives up now that its agent is not wanted any more, and may take it away by itself.
  const state = await run.until(
    'state',
    async (tx) => {
      const machine = await lock(tx, machines, { id });
      if (!machine || machine.removedAt) return 'Gone';
      return machine.state === 'Starting' || machine.state === 'Migrating' ? undefined : machine.state;
    },
    { timeoutSeconds: SETTLE_SECONDS, timeoutMessage: 'the system VM is still being started; try again' },
  );
  if (state === 'Gone') return;
  if (state === 'Running' || state === 'Stopping') await stopMachine(run, { machineId: id, force: true });
  await expungeMachine(run, {
    machineId: id,
    settle: async (tx, { wake }) => {
      await tx.update(systemVms, { id }, { removedAt: new Date() });
      wake('systemVm');
    },
  });
}
