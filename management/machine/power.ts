/** Keeps the record true by what hosts report, and hosts true by the record. */
import { In, IsNull } from 'typeorm';
import { call } from '../../protocol/message.ts';
import { ListMachines, StopMachine } from '../../protocol/messages/machine.ts';
import type { Id } from '../../protocol/schema.ts';
import { machineStates } from '../../protocol/states/machine.ts';
import { lock, move } from '../core/db.ts';
import { writeEvent } from '../core/events.ts';
import { reconciler } from '../core/reconcile.ts';
import type { Services } from '../core/services.ts';
import { agents } from '../core/tables.ts';
import { type MachineRow, machines } from './entities.ts';
import { reserveAsSeen } from './placement.ts';
import { settleStopped } from './start.ts';

export interface PowerReport {
  /** True when `seen` is all that the host has. */
  readonly whole: boolean;
  readonly seen: readonly { readonly id: Id<'machine'>; readonly power: 'On' | 'Off' }[];
}

/** What to do about a machine that its host reports so. Pure; the states in between belong to the job that is at work. */
export function judge(
  machine: Pick<MachineRow, 'state' | 'hostId' | 'lastHostId' | 'removedAt' | 'kind'> | null,
  hostId: string,
  power: 'On' | 'Off',
): 'nothing' | 'stopped' | 'adopt' | 'stray' {
  if (power === 'Off') return machine?.state === 'Running' && machine.hostId === hostId ? 'stopped' : 'nothing';
  if (!machine || machine.removedAt || ['Destroyed', 'Expunging', 'Error'].includes(machine.state)) return 'stray';
  if (machine.hostId === hostId) return 'nothing';
  if (machine.state === 'Running') return 'stray';
  if (machine.state !== 'Stopped') return 'nothing';
  // Started behind our back where it ran last: its owner wanted that. System VMs have no owner; each start of them is a new join.
  return machine.kind === 'guest' && machine.lastHostId === hostId ? 'adopt' : 'stray';
}

export async function heed(services: Services, hostId: Id<'host'>, { whole, seen }: PowerReport): Promise<void> {
  const { db } = services;
  const reported = new Map(seen.map(({ id, power }) => [id, power]));
  const known = seen.length === 0 ? [] : await db.read.findBy(machines, { id: In([...reported.keys()]) });
  const byId = new Map(known.map((machine) => [machine.id, machine]));
  for (const [id, power] of reported) await act(services, hostId, id, judge(byId.get(id) ?? null, hostId, power));
  if (!whole) return;
  const here = await db.read.findBy(machines, { hostId, state: 'Running', removedAt: IsNull() });
  for (const { id } of here) if (!reported.has(id)) await act(services, hostId, id, 'stopped');
}

async function act(services: Services, hostId: Id<'host'>, id: Id<'machine'>, what: ReturnType<typeof judge>): Promise<void> {
  const { db, agents: asks, log, wake } = services;
  if (what === 'nothing') return;
  if (what === 'stray') {
    log.warn({ machine: id, host: hostId }, 'a machine runs that should not run here; it is stopped');
    await asks.ask({ kind: 'host', id: hostId }, call(StopMachine, { id, force: true, graceSeconds: 0 }), {
      requestId: 'machine.power',
      linkGraceSeconds: 0,
    });
    return;
  }
  await db.transact(async (tx) => {
    const machine = await lock(tx, machines, { id });
    if (!machine || judge(machine, hostId, what === 'stopped' ? 'Off' : 'On') !== what) return;
    if (what === 'stopped') await settleStopped(tx, machine, 'powerOff');
    else {
      await reserveAsSeen(tx, machine, hostId);
      await move(tx, machines, machineStates, machine, 'powerOn', { hostId, power: 'On', powerAt: new Date() });
    }
    await writeEvent(tx, {
      type: what === 'stopped' ? 'VM.STOP' : 'VM.START',
      level: 'WARN',
      description:
        what === 'stopped'
          ? `${machine.instanceName} was found stopped on its host`
          : `${machine.instanceName} was found running on its host`,
      owner: { accountId: machine.accountId, domainId: machine.domainId, userId: null },
      resource: { type: 'VirtualMachine', id },
    });
  });
  wake('machine');
  wake('hostNetworks');
}

/** Asks every host for the whole, in case a difference was lost. */
export const powerReconciler = reconciler({
  name: 'machine.power',
  everySeconds: 60,
  wakeOn: [],
  run: async (services) => {
    const up = await services.db.read.findBy(agents, { kind: 'host', state: 'Up' });
    await Promise.all(
      up.map(async ({ id }) => {
        try {
          const { machines: seen } = await services.agents.ask({ kind: 'host', id }, call(ListMachines, {}), {
            requestId: 'machine.power',
            linkGraceSeconds: 0,
          });
          await heed(services, id as Id<'host'>, { whole: true, seen });
        } catch (error) {
          services.log.debug({ err: error, host: id }, 'host did not list its machines');
        }
      }),
    );
  },
});
