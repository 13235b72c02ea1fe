/**
 * Watches boots: reads the serial console of each system VM that is starting, and asks those that are up for all their stages. Of every
 * boot that has ended there is one event with the stages and their times, and an alert when it failed.
 */

import type { SystemVmKindName } from '../../../protocol/kinds.ts';
import { call } from '../../../protocol/message.ts';
import { ReadSerialLog } from '../../../protocol/messages/machine.ts';
import { type BootStage, DescribeSystemVm } from '../../../protocol/messages/systemvm.ts';
import type { Id } from '../../../protocol/schema.ts';
import { systemAccount } from '../../account/index.ts';
import type { Tx } from '../../core/db.ts';
import { type AlertType, raiseAlert, resolveAlert, writeEvent } from '../../core/events.ts';
import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import { failureIn, isSameBoot, lastWordsOf, stagesIn, stagesText } from '../boot-trace.ts';
import { type SystemVmBootRow, systemVmBoots } from '../entities.ts';

const FAILURES_MAX = 99;
/** A boot that has told nothing more for so long after its agent was up is taken as it is. */
const READY_SECONDS = 120;
/** As long as a start is waited for. */
const END_SECONDS = 300;

const alertOf: Readonly<Record<SystemVmKindName, AlertType>> = {
  'console-proxy': 'consoleProxy',
  'secondary-storage': 'secondaryStorageVm',
  router: 'domainRouter',
};

interface Watched {
  readonly id: Id<'machine'>;
  readonly kind: SystemVmKindName;
  readonly name: string;
  readonly zoneId: Id<'zone'>;
  readonly networkId: Id<'network'> | null;
  readonly removedAt: Date | null;
  readonly state: string;
  readonly hostId: Id<'host'> | null;
  readonly machineGeneration: number;
  readonly agentState: string;
  readonly agentSince: Date;
  readonly certificateSerial: string | null;
}

export const bootsReconciler = reconciler({
  name: 'systemVm.boots',
  everySeconds: 5,
  wakeOn: ['agent', 'systemVm', 'machine'],
  run: async (services) => {
    const watched = await services.db.rows<Watched>(
      `SELECT s.id AS id, s.kind AS kind, m.instance_name AS name, s.zone_id AS zoneId, s.network_id AS networkId, s.removed_at AS removedAt, m.state AS state,
              m.host_id AS hostId, m.generation AS machineGeneration, a.state AS agentState, a.state_since AS agentSince, a.certificate_serial AS certificateSerial
         FROM system_vm s JOIN machine m ON m.id = s.id JOIN agent a ON a.id = s.id LEFT JOIN system_vm_boot b ON b.id = s.id
        WHERE b.outcome = 'Booting'
           OR (s.removed_at IS NULL AND (m.state = 'Starting' OR (a.state = 'Up' AND NOT b.certificate_serial <=> a.certificate_serial)))`,
    );
    await Promise.all(
      watched.map((each) =>
        watch(services, each).catch((error: unknown) =>
          services.log.debug({ err: error, systemVm: each.id }, 'the boot of a system VM could not be looked at; it is looked at again'),
        ),
      ),
    );
  },
});

async function watch(services: Services, each: Watched): Promise<void> {
  const { db } = services;
  const row = await db.read.findOneBy(systemVmBoots, { id: each.id });
  const isOwn = row?.outcome === 'Booting' && row.hostId === each.hostId && row.machineGeneration === each.machineGeneration;
  if (each.removedAt === null && each.agentState === 'Up') return lookInside(services, each, row);
  if (each.removedAt === null && each.state === 'Starting' && each.hostId) {
    // An attempt on another host has ended where this one begins.
    if (row?.outcome === 'Booting' && !isOwn) await end(services, each, row);
    return readConsole(services, each, row, isOwn);
  }
  // Between two states, such as right after the start, there is nothing to be said yet.
  if (row?.outcome === 'Booting' && (each.removedAt !== null || !['Starting', 'Running'].includes(each.state)))
    await end(services, each, row);
}

/** The agent knows all stages of its program; the console knew those before. */
async function lookInside(services: Services, each: Watched, row: SystemVmBootRow | null): Promise<void> {
  const { kind, id, certificateSerial } = each;
  const { stages: own } = await services.agents.ask({ kind, id }, call(DescribeSystemVm, {}), {
    requestId: 'systemVm.boots',
    linkGraceSeconds: 0,
  });
  const rounded = own.map((stage) => ({ ...stage, atSeconds: Number(stage.atSeconds.toFixed(2)) }));
  // A certificate that was renewed is no boot.
  if (row && row.outcome !== 'Booting' && isSameBoot(row.stages.slice(-rounded.length), rounded)) {
    await services.db.rows('UPDATE system_vm_boot SET certificate_serial = ? WHERE id = ?', [certificateSerial, id]);
    return;
  }
  const before = await stagesBefore(services, each, rounded);
  const stages = [...before, ...rounded];
  const failure = failureIn(stages);
  const begun = row?.outcome === 'Booting' ? row.startedAt : new Date();
  const isLate = Date.now() - each.agentSince.getTime() > READY_SECONDS * 1000 || Date.now() - begun.getTime() > END_SECONDS * 1000;
  const isReady = rounded.some(({ stage }) => stage === 'ready');
  const found = { stages, failure, lastWords: [] };
  const next = written(each, row?.outcome === 'Booting' ? row : null, found);
  // What has failed is tried again when the program has been started anew.
  if (isReady || isLate) await settle(services, each, { ...next, outcome: failure ? 'Failed' : 'Up', certificateSerial });
  else await services.db.transact((tx) => save(tx, next));
}

/** What the console told of this boot before the agent began; nothing where the host cannot be asked now. */
async function stagesBefore({ agents }: Services, { id, hostId }: Watched, own: readonly BootStage[]): Promise<BootStage[]> {
  const first = own[0];
  if (!hostId || !first) return [];
  const options = { requestId: 'systemVm.boots', linkGraceSeconds: 0 };
  const told = await agents.ask({ kind: 'host', id: hostId }, call(ReadSerialLog, { id }), options).catch(() => null);
  const stages = told ? stagesIn(told.text) : [];
  // A console that does not know the agent's own first stage tells of another boot.
  const begin = stages.findIndex(({ stage, atSeconds }) => stage === first.stage && atSeconds === first.atSeconds);
  return stages.slice(0, Math.max(0, begin));
}

async function readConsole(services: Services, each: Watched, row: SystemVmBootRow | null, isOwn: boolean): Promise<void> {
  const { id, hostId } = each;
  if (!hostId) return;
  const { text } = await services.agents.ask({ kind: 'host', id: hostId }, call(ReadSerialLog, { id }), {
    requestId: 'systemVm.boots',
    linkGraceSeconds: 0,
  });
  const stages = stagesIn(text);
  // Until the new boot has said something, the log ends with the one before.
  const isStale = !isOwn && row !== null && isSameBoot(row.stages, stages);
  const failure = isStale ? null : failureIn(stages);
  const found = { stages: isStale ? [] : stages, failure, lastWords: failure ? lastWordsOf(text) : [] };
  await services.db.transact((tx) => save(tx, written(each, isOwn ? row : null, found)));
}

const written = (
  { id, hostId, machineGeneration }: Watched,
  row: SystemVmBootRow | null,
  { stages, failure, lastWords }: { stages: BootStage[]; failure: ReturnType<typeof failureIn>; lastWords: string[] },
): SystemVmBootRow => ({
  id,
  hostId: row?.hostId ?? hostId,
  machineGeneration: row ? row.machineGeneration : machineGeneration,
  outcome: 'Booting',
  certificateSerial: null,
  stages,
  failedStage: failure?.stage ?? null,
  reason: failure?.reason.slice(0, 512) ?? null,
  failures: Math.min(FAILURES_MAX, failure?.count ?? 0),
  lastWords,
  startedAt: row?.startedAt ?? new Date(),
  endedAt: null,
});

/** It is over, and its agent was never up. */
const end = (services: Services, each: Watched, row: SystemVmBootRow): Promise<void> =>
  settle(services, each, {
    ...row,
    outcome: 'Failed',
    reason: row.failedStage ? row.reason : `it ended before its agent was up; the last stage was ${row.stages.at(-1)?.stage ?? 'not told'}`,
  });

async function settle({ db, log }: Services, each: Watched, row: SystemVmBootRow): Promise<void> {
  const { id, kind, name, zoneId, networkId } = each;
  const alert = alertOf[kind];
  // Each try is another system VM, so the alert is about what it was for.
  const about = networkId ?? zoneId;
  const told = row.stages.length > 0 ? `; stages: ${stagesText(row.stages)}` : '';
  const words = row.lastWords.length > 0 ? `; its console ends with: ${row.lastWords.slice(-3).join(' / ')}` : '';
  const failed = `${name} did not start: ${row.failedStage ? `boot stage ${row.failedStage} failed: ` : ''}${row.reason}`;
  await db.transact(async (tx) => {
    const owner = await systemAccount(tx);
    await save(tx, { ...row, endedAt: new Date() });
    await writeEvent(tx, {
      type: 'SYSTEMVM.BOOT',
      level: row.outcome === 'Up' ? 'INFO' : 'ERROR',
      description:
        row.outcome === 'Up'
          ? `${name} has booted in ${row.stages.at(-1)?.atSeconds.toFixed(1) ?? '?'} s${told}`
          : `${failed}${told.slice(0, 400)}${words}`,
      owner: { accountId: owner.id, domainId: owner.domainId, userId: null },
      resource: { type: 'SystemVm', id },
    });
    if (row.outcome === 'Up') await resolveAlert(tx, alert, about);
    else await raiseAlert(tx, alert, `${failed}${words}`, { zoneId, resourceId: about });
  });
  if (row.outcome === 'Failed') log.warn({ systemVm: id, stage: row.failedStage, reason: row.reason }, 'the boot of a system VM failed');
}

async function save(tx: Tx, row: SystemVmBootRow): Promise<void> {
  const { id, ...rest } = row;
  const { affected } = await tx.update(systemVmBoots, { id }, rest);
  if (!affected) await tx.insert(systemVmBoots, row);
}
