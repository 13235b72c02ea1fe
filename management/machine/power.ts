/** Keeps the record true by what hosts report, and hosts true by the record. */
import { In, IsNull } from 'typeorm';
import { call } from '../../protocol/message.ts';
import { ListMachines, StopMachine } from '../../protocol/messages/machine.ts';
import type { Id } from '../../protocol/schema.ts';
import { machineStates } from '../../protocol/states/machine.ts';
import { lock, move } from '../core/db.ts';
import { writeEvent } from '../core/events.ts';
import { gatheredRows } from '../core/gather.ts';
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

/**
 * A report is of a moment ago, and a job may have been quicker. So what looks wrong in it is looked at again: first the record, then the
 * host, and what is done about it holds only for the generation of the record that was read.
 */
export async function heed(services: Services, hostId: Id<'host'>, report: PowerReport): Promise<void> {
  const rows = await rowsOf(services, hostId, report);
  const suspects = verdicts(rows, hostId, report).map(({ id }) => id);
  if (suspects.length === 0) return;
  const again = await rowsOf(services, hostId, { whole: false, seen: suspects.map((id) => ({ id, power: 'Off' })) });
  const there = new Map((await listMachines(services, hostId)).map(({ id, power }) => [id, power]));
  const seen = suspects.map((id) => ({ id, power: there.get(id) ?? ('Off' as const) }));
  for (const { id, what } of verdicts(again, hostId, { whole: false, seen })) await act(services, hostId, id, what, again.get(id) ?? null);
}

type Verdict = Exclude<ReturnType<typeof judge>, 'nothing'>;
function verdicts(
  rows: ReadonlyMap<Id<'machine'>, MachineRow>,
  hostId: Id<'host'>,
  { whole, seen }: PowerReport,
): { id: Id<'machine'>; what: Verdict }[] {
  const reported = new Map(seen.map(({ id, power }) => [id, power]));
  if (whole) for (const { id, state } of rows.values()) if (state === 'Running' && !reported.has(id)) reported.set(id, 'Off');
  return [...reported].flatMap(([id, power]) => {
    const what = judge(rows.get(id) ?? null, hostId, power);
    return what === 'nothing' ? [] : [{ id, what }];
  });
}

// Read for many hosts together, as all of them come back at once after a restart and report at once every minute.
const runningOn = gatheredRows<Id<'host'>, MachineRow>(
  (db, hostIds) => db.read.findBy(machines, { hostId: In([...hostIds]), state: 'Running', removedAt: IsNull() }),
  ({ hostId }) => hostId,
);

async function rowsOf({ db }: Services, hostId: Id<'host'>, { whole, seen }: PowerReport): Promise<Map<Id<'machine'>, MachineRow>> {
  const known = seen.length === 0 ? [] : await db.read.findBy(machines, { id: In(seen.map(({ id }) => id)) });
  const here = whole ? await runningOn(db, hostId) : [];
  return new Map([...known, ...here].map((machine) => [machine.id, machine]));
}

async function listMachines({ agents: asks }: Services, hostId: Id<'host'>): Promise<PowerReport['seen']> {
  const answer = await asks.ask({ kind: 'host', id: hostId }, call(ListMachines, {}), { requestId: 'machine.power', linkGraceSeconds: 0 });
  return answer.machines;
}

async function act(services: Services, hostId: Id<'host'>, id: Id<'machine'>, what: Verdict, row: MachineRow | null): Promise<void> {
  const { db, agents: asks, log, wake } = services;
  if (what === 'stray') {
    // While the host was asked, somebody may have begun to start it there.
    const now = await db.read.findOneBy(machines, { id });
    if (now?.generation !== row?.generation) return;
    log.warn({ machine: id, host: hostId }, 'a machine runs that should not run here; it is stopped');
    await asks.ask({ kind: 'host', id: hostId }, call(StopMachine, { id, force: true, graceSeconds: 0 }), {
      requestId: 'machine.power',
      linkGraceSeconds: 0,
    });
    return;
  }
  await db.transact(async (tx) => {
    const machine = await lock(tx, machines, { id });
    if (!machine || machine.generation !== row?.generation) return;
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

/** The host has rung for its machines, or is back: one may have come and gone between two reports, and no difference tells of it. */
export async function look(services: Services, hostId: Id<'host'>): Promise<void> {
  await heed(services, hostId, { whole: true, seen: await listMachines(services, hostId) });
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
          await look(services, id as Id<'host'>);
        } catch (error) {
          services.log.debug({ err: error, host: id }, 'host did not list its machines');
        }
      }),
    );
  },
});
