/** Starting, stopping, rebooting and removing a machine, as parts of sagas. Nothing here knows whose machine it is. */
import { randomInt } from 'node:crypto';
import { In } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { call } from '../../protocol/message.ts';
import { ApplyHostNetworks } from '../../protocol/messages/host.ts';
import { type MachineSpec, RebootMachine, StartMachine, StopMachine } from '../../protocol/messages/machine.ts';
import { type Id, Secret } from '../../protocol/schema.ts';
import { type MachineState, machineStates } from '../../protocol/states/machine.ts';
import { lock, move, type Tx } from '../core/db.ts';
import { raiseAlert, resolveAlert } from '../core/events.ts';
import type { AgentAddress, Run } from '../core/saga.ts';
import type { Services } from '../core/services.ts';
import { hosts } from '../infra/index.ts';
import { hostNetworks, releaseNics } from '../network/index.ts';
import { ensureVolume, expungeVolumes, volumesOf } from '../storage/index.ts';
import { type MachineRow, machines } from './entities.ts';
import { release, reserve } from './placement.ts';
import { machineSpec } from './spec.ts';

const ATTEMPTS_MAX = 3;
const onHost = (id: Id<'host'>): AgentAddress => ({ kind: 'host', id });

export interface StartRequest {
  readonly machineId: Id<'machine'>;
  /** Only this host will do; null: wherever there is room. */
  readonly hostId: Id<'host'> | null;
  /** How it boots, made when the host is asked: it may hold a token that must not be remembered. */
  readonly boot: (services: Services) => Promise<MachineSpec['boot']>;
  /** Done on the chosen host before the machine starts. */
  readonly before?: (run: Run, hostId: Id<'host'>) => Promise<void>;
  /** Waits for what must be so before the machine counts as Running. */
  readonly after?: (run: Run, hostId: Id<'host'>) => Promise<void>;
  /** In the transaction that makes it Running. */
  readonly settle?: (tx: Tx) => Promise<void>;
}

/** Starts a stopped machine, trying up to three hosts; leaves it Running, or as it was. Returns the host. */
export async function startMachine(run: Run, { machineId, hostId, boot, before, after, settle }: StartRequest): Promise<Id<'host'>> {
  const volumeIds = await run.step(
    'claim',
    async (tx, { secrets }) => {
      const machine = await mustFind(tx, machineId);
      await move(tx, machines, machineStates, machine, 'start', { vncPassword: secrets.seal(new Secret(newVncPassword())), vncPort: null });
      return (await volumesOf(tx, machineId)).map(({ id }) => id);
    },
    async (tx) => {
      const machine = await lock(tx, machines, { id: machineId });
      if (machine?.state === 'Starting') await move(tx, machines, machineStates, machine, 'fail', { hostId: null, vncPassword: null });
    },
  );
  const failed: Failed[] = [];
  for (;;) {
    const avoid = failed.map(({ host }) => host);
    const host = await run.step(
      `place ${avoid.length}`,
      async (tx, services) => {
        const machine = await mustFind(tx, machineId);
        const chosen = await reserve(tx, services, { machine, avoid, hostId });
        if (chosen === null) return null;
        await tx.update(machines, { id: machineId }, { hostId: chosen });
        services.wake('hostNetworks');
        return chosen;
      },
      async (tx) => {
        await release(tx, machineId);
        await tx.update(machines, { id: machineId }, { hostId: null });
      },
    );
    if (host === null) throw await giveUp(run, machineId, failed);
    try {
      return await run.part(`boot ${avoid.length}`, async (part) => {
        for (const volumeId of volumeIds) await ensureVolume(part, volumeId, host);
        await part.ask('networks', onHost(host), async (services) => call(ApplyHostNetworks, await hostNetworks(services, host)));
        await before?.(part, host);
        const { vncPort } = await part.ask(
          'start',
          onHost(host),
          async (services) => call(StartMachine, { spec: await machineSpec(services, machineId, await boot(services)) }),
          call(StopMachine, { id: machineId, force: true, graceSeconds: 0 }),
        );
        await after?.(part, host);
        await part.step('running', async (tx) => {
          const machine = await mustFind(tx, machineId);
          // The host's own report may have been quicker than its answer.
          const running = machine.state === 'Starting' ? await move(tx, machines, machineStates, machine, 'succeed') : machine;
          if (running.state !== 'Running') throw new CloudError('Unreachable', 'the machine ended right after its start');
          await tx.update(machines, { id: machineId }, { vncPort, power: 'On', powerAt: new Date(), lastHostId: host });
          await resolveAlert(tx, 'userVm', machineId);
          await settle?.(tx);
          return null;
        });
        return host;
      });
    } catch (error) {
      if (!isHostsFault(error) || hostId !== null) throw error;
      failed.push({ host, code: error.code, message: error.message });
      if (failed.length === ATTEMPTS_MAX) throw await giveUp(run, machineId, failed);
    }
  }
}

interface Failed {
  readonly host: Id<'host'>;
  readonly code: CloudError['code'];
  readonly message: string;
}

/**
 * There was room, and hosts failed all the same: that is no lack of capacity, and more of it would not help. Whoever asked learns what
 * went wrong; which hosts it was is for the operator alone.
 */
async function giveUp(run: Run, machineId: Id<'machine'>, failed: readonly Failed[]): Promise<CloudError> {
  const last = failed.at(-1);
  const isSame = failed.every(({ code }) => code === last?.code);
  await run.step('give up', async (tx) => {
    const machine = await mustFind(tx, machineId);
    // Who keeps the system VMs tells of them.
    if (machine.kind !== 'guest') return null;
    const known = await tx.findBy(hosts, { id: In(failed.map(({ host }) => host)) });
    const reasons = failed.map(({ host, message }) => `${known.find(({ id }) => id === host)?.name ?? host}: ${message}`);
    await raiseAlert(tx, 'userVm', `${machine.instanceName} could not be started, though there was room: ${reasons.join('; ')}`, {
      zoneId: machine.zoneId,
      resourceId: machineId,
    });
    return null;
  });
  const tried = failed.length === 1 ? '1 host' : `${failed.length} hosts`;
  return new CloudError(
    isSame && last?.code === 'InsufficientStorage' ? 'InsufficientStorage' : 'Internal',
    `the virtual machine could not be started; ${tried} with room for it failed, the last with: ${last?.message ?? ''}`,
  );
}

/** Another host may do better: this one is away, or short of something. */
const isHostsFault = (error: unknown): error is CloudError =>
  error instanceof CloudError && ['Unreachable', 'ResourceUnavailable', 'InsufficientStorage', 'Timeout', 'Internal'].includes(error.code);

/** Stops a running machine: by its power button, or `force`d by pulling the plug. A stopped one stays so. */
export async function stopMachine(
  run: Run,
  { machineId, force, graceSeconds = 60 }: { machineId: Id<'machine'>; force: boolean; graceSeconds?: number },
): Promise<void> {
  const host = await run.step(
    'stopping',
    async (tx) => {
      const machine = await mustFind(tx, machineId);
      if (machine.state === 'Stopped') return null;
      if (machine.state !== 'Stopping') await move(tx, machines, machineStates, machine, 'stop');
      return machine.hostId;
    },
    async (tx) => {
      const machine = await lock(tx, machines, { id: machineId });
      if (machine?.state === 'Stopping') await move(tx, machines, machineStates, machine, 'fail');
    },
  );
  if (!host) return;
  await run.ask('stop', onHost(host), call(StopMachine, { id: machineId, force, graceSeconds: force ? 0 : graceSeconds }));
  await run.step('stopped', async (tx, services) => {
    const machine = await mustFind(tx, machineId);
    if (machine.state === 'Stopping') await settleStopped(tx, machine, 'succeed');
    services.wake('hostNetworks');
    return null;
  });
}

/** The machine is off: its host and capacity are given back. */
export async function settleStopped(tx: Tx, machine: MachineRow, event: 'succeed' | 'powerOff'): Promise<void> {
  await release(tx, machine.id);
  await move(tx, machines, machineStates, machine, event, {
    hostId: null,
    lastHostId: machine.hostId ?? machine.lastHostId,
    power: 'Off',
    powerAt: new Date(),
    vncPassword: null,
    vncPort: null,
  });
}

export async function rebootMachine(run: Run, { machineId, force }: { machineId: Id<'machine'>; force: boolean }): Promise<void> {
  const host = await run.step('running', async (tx) => {
    const machine = await mustFind(tx, machineId);
    if (machine.state !== 'Running' || !machine.hostId)
      throw new CloudError('WrongState', `a virtual machine that is ${machine.state} cannot reboot`);
    return machine.hostId;
  });
  const { power } = await run.ask('reboot', onHost(host), call(RebootMachine, { id: machineId, force }));
  // The host's own report sets the record right.
  if (power === 'Off')
    throw new CloudError('ResourceUnavailable', 'the virtual machine ended and did not reboot; start it again', { id: machineId });
}

export interface ExpungeRequest {
  readonly machineId: Id<'machine'>;
  /** The states in which it may go for good. Looked at again here, as its owner may have recovered it since the job was asked for. */
  readonly from: readonly MachineState[];
  readonly settle: (tx: Tx, services: Services) => Promise<unknown>;
}

/**
 * Removes a machine that does not run, with its volumes, NICs and addresses; `settle` takes what else there is of it, in the transaction
 * after which nobody finds it any more.
 */
export async function expungeMachine(run: Run, { machineId, from, settle }: ExpungeRequest): Promise<void> {
  const volumeIds = await run.step('expunging', async (tx) => {
    const machine = await mustFind(tx, machineId);
    if (!from.includes(machine.state))
      throw new CloudError('WrongState', `a virtual machine that is ${machine.state} cannot be expunged`, { id: machineId });
    if (machine.state !== 'Expunging') await move(tx, machines, machineStates, machine, 'expunge');
    return (await volumesOf(tx, machineId)).map(({ id }) => id);
  });
  await expungeVolumes(run, volumeIds);
  await run.step('gone', async (tx, services) => {
    const machine = await mustFind(tx, machineId);
    await release(tx, machineId);
    await releaseNics(tx, machineId);
    await resolveAlert(tx, 'userVm', machineId);
    await tx.update(
      machines,
      { id: machineId },
      { removedAt: new Date(), hostId: null, lastHostId: machine.hostId ?? machine.lastHostId, vncPassword: null },
    );
    await settle(tx, services);
    services.wake('hostNetworks');
    services.wake('machineGone');
    return null;
  });
}

export async function mustFind(tx: Tx, id: Id<'machine'>): Promise<MachineRow> {
  const machine = await lock(tx, machines, { id });
  if (!machine || machine.removedAt) throw new CloudError('NotFound', 'there is no such virtual machine any more', { id });
  return machine;
}

const LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789';
/** Eight characters are all that RFB's authentication takes. */
const newVncPassword = () => Array.from({ length: 8 }, () => LETTERS[randomInt(LETTERS.length)]).join('');

/** The machine never came to life: it stays to be seen, in state Error, and holds nothing. */
export async function errorMachine(tx: Tx, id: Id<'machine'>): Promise<null> {
  const machine = await lock(tx, machines, { id });
  if (machine && machineStates.can(machine.state, 'error')) {
    await release(tx, id);
    await move(tx, machines, machineStates, machine, 'error', { hostId: null, vncPassword: null });
  }
  return null;
}
