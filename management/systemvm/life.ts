/** Starting and removing system VMs, as parts of sagas. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { call } from '../../protocol/message.ts';
import { EnsureBootFiles } from '../../protocol/messages/host.ts';
import { DescribeSystemVm } from '../../protocol/messages/systemvm.ts';
import type { Id } from '../../protocol/schema.ts';
import { removeAgent } from '../core/agent-records.ts';
import { lock, type Tx } from '../core/db.ts';
import type { Run } from '../core/saga.ts';
import { agents } from '../core/tables.ts';
import { expungeMachine, machines, startMachine, stopMachine } from '../machine/index.ts';
import { bootFiles, bootOf } from './boot.ts';
import { systemVmBoots, systemVms } from './entities.ts';

/** From power on to the agent's first answer, on a slow machine that emulates everything and starts three of them at once. */
const BOOT_SECONDS = 300;
/** A stage that has failed so often is not waited for any longer. */
const STAGE_FAILURES_MAX = 2;
/** Until a start that has been cut short is undone. */
const SETTLE_SECONDS = 120;

/**
 * Starts it and waits until its agent is Up and has taken its configuration; only then is it Running. A boot that fails is told stage by
 * name, and to operators with what the console said.
 */
export async function startSystemVm(run: Run, id: Id<'machine'>, teller: 'operator' | 'tenant' = 'tenant'): Promise<void> {
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
    after: async (part, host) => {
      await bootEnds(part, id, host, teller);
      const about = await part.ask('agent', { kind, id }, call(DescribeSystemVm, {}), undefined, { linkGraceSeconds: BOOT_SECONDS });
      version = about.version.slice(0, 80);
    },
    settle: async (tx) => {
      await tx.update(systemVms, { id }, { version, keepStopped: false });
    },
  });
}

/** Waits for the agent, or for the stage of the boot that keeps failing; the trace is written by a reconciler that reads the console. */
async function bootEnds(part: Run, id: Id<'machine'>, host: Id<'host'>, teller: 'operator' | 'tenant'): Promise<void> {
  const seen = async (tx: Tx) => {
    const [agent, machine, boot] = [
      await tx.findOneBy(agents, { id }),
      await tx.findOneByOrFail(machines, { id }),
      await tx.findOneBy(systemVmBoots, { id }),
    ];
    const own = boot && boot.hostId === host && boot.machineGeneration === machine.generation ? boot : null;
    // Nobody waits for what is not wanted any more, or has gone off again.
    if (!agent || agent.state === 'Removed') throw new CloudError('WrongState', 'the system VM is being destroyed');
    if (machine.state !== 'Starting' && machine.state !== 'Running')
      throw new CloudError('Unreachable', 'the machine ended while it was booting');
    return {
      isUp: agent.state === 'Up',
      failedStage: own?.failedStage ?? null,
      reason: own?.reason ?? null,
      failures: own?.failures ?? 0,
      lastStage: own?.stages.at(-1)?.stage ?? null,
      lastWords: own?.lastWords ?? [],
    };
  };
  const tell = ({ failedStage, reason, lastStage, lastWords }: Omit<Awaited<ReturnType<typeof seen>>, 'isUp'>): string => {
    const stage = failedStage
      ? `boot stage ${failedStage} failed`
      : `its agent was not up within ${BOOT_SECONDS} s; the last boot stage was ${lastStage ?? 'not told'}`;
    const words = teller === 'tenant' || lastWords.length === 0 ? '' : `; its console ends with: ${lastWords.slice(-3).join(' / ')}`;
    return `the system VM did not start: ${stage}${failedStage && reason && teller === 'operator' ? `: ${reason}` : ''}${words}`.slice(
      0,
      900,
    );
  };
  const end = await part
    .until(
      'boot',
      async (tx) => {
        const now = await seen(tx);
        return now.isUp || now.failures >= STAGE_FAILURES_MAX ? now : undefined;
      },
      { timeoutSeconds: BOOT_SECONDS, timeoutMessage: 'the boot takes too long' },
    )
    .catch(async (error: unknown) => {
      if (!(error instanceof CloudError && error.code === 'Timeout')) throw error;
      const late = await part.step('boot trace', seen);
      // Without a stage that failed another host may do better.
      throw new CloudError(late.failedStage ? 'AllocationFailed' : 'Timeout', tell(late), { cause: error });
    });
  if (!end.isUp) throw new CloudError('AllocationFailed', tell(end));
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
    from: ['Stopped', 'Error', 'Destroyed', 'Expunging'],
    settle: async (tx, { wake }) => {
      await tx.update(systemVms, { id }, { removedAt: new Date() });
      wake('systemVm');
    },
  });
}
