import { In } from 'typeorm';
import type { SystemVmKindName } from '../../../protocol/kinds.ts';
import type { BootStage } from '../../../protocol/messages/systemvm.ts';
import type { Id } from '../../../protocol/schema.ts';
import { command, reply } from '../../core/command.ts';
import type { Database } from '../../core/db.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { entityKind, p } from '../../core/params.ts';
import { f, view } from '../../core/view.ts';
import { zoneKind } from '../../infra/index.ts';
import { type SystemVmBootRow, type SystemVmRow, systemVmBoots, systemVms } from '../entities.ts';
import { apiKinds } from '../views.ts';

/** Also those that are gone: one that did not boot has been removed since, and is what is looked for. */
const bootedKind = entityKind<SystemVmRow>({
  noun: 'system VM',
  find: (tx, id) => tx.findOneBy(systemVms, { id: id as Id<'machine'> }),
  removed: () => false,
  owner: () => null,
});

type BootShown = SystemVmBootRow & {
  readonly name: string;
  readonly kind: SystemVmKindName;
  readonly zoneId: string;
  readonly zoneName: string;
  readonly hostName: string | null;
};
const bootView = view<BootShown>('SystemVmBootResponse', 'systemvmboot', {
  id: f.string('the id of the system VM or router', (row) => row.id),
  name: f.string('its name', (row) => row.name),
  systemvmtype: f.string('what it is for: consoleproxy, secondarystoragevm or domainrouter', (row) => apiKinds[row.kind]),
  zoneid: f.string('the zone', (row) => row.zoneId),
  zonename: f.string('the name of the zone', (row) => row.zoneName),
  hostid: f.string('the host it booted on', (row) => row.hostId),
  hostname: f.string('the name of the host', (row) => row.hostName),
  state: f.string('Booting, Up or Failed', (row) => row.outcome),
  failedstage: f.string('the stage that failed', (row) => row.failedStage),
  reason: f.string('why it failed', (row) => row.reason),
  seconds: f.double('seconds from the start of its kernel to the last stage', (row) => row.stages.at(-1)?.atSeconds),
  stage: f.list<BootShown, BootStage>('the stages in their order', (row) => row.stages, {
    name: f.string('the name of the stage', ({ stage }) => stage),
    seconds: f.double('seconds since the start of the kernel', ({ atSeconds }) => atSeconds),
    detail: f.string('what it said', ({ detail }) => (detail === '' ? null : detail)),
  }),
  console: f.texts('the last lines of the serial console of a boot that failed', (row) =>
    row.lastWords.length > 0 ? row.lastWords : null,
  ),
  created: f.date('when it was begun', (row) => row.startedAt),
  ended: f.date('when it had ended', (row) => row.endedAt),
});

async function loadBoots({ rows, read }: Pick<Database, 'rows' | 'read'>, ids: readonly string[]): Promise<BootShown[]> {
  const boots = await read.findBy(systemVmBoots, { id: In(ids as Id<'machine'>[]) });
  const about = await rows<Pick<BootShown, 'id' | 'name' | 'kind' | 'zoneId' | 'zoneName' | 'hostName'>>(
    `SELECT b.id AS id, m.instance_name AS name, s.kind AS kind, s.zone_id AS zoneId, z.name AS zoneName, h.name AS hostName FROM system_vm_boot b
       JOIN system_vm s ON s.id = b.id JOIN machine m ON m.id = b.id JOIN zone z ON z.id = s.zone_id LEFT JOIN host h ON h.id = b.host_id WHERE b.id IN (?)`,
    [ids],
  );
  const byId = new Map(about.map((row) => [row.id, row]));
  return boots.flatMap((boot) => {
    const found = byId.get(boot.id);
    return found ? [{ ...boot, ...found }] : [];
  });
}

export const listSystemVmBoots = command({
  name: 'listSystemVmBoots',
  about: 'Lists the last boot of each system VM and router, newest first: its stages with their times, and the stage that failed.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('the system VM or router of this id, also one that is gone', bootedKind, 'list'),
    zoneid: p.entity('only those of this zone', zoneKind, 'list'),
    state: p.word('only those that are so', ['Booting', 'Up', 'Failed']),
    systemvmtype: p.word('only those of this type', Object.values(apiKinds)),
  },
  reply: reply.list(bootView),
  run: (context, params) =>
    list(context, params, {
      from: 'system_vm_boot t JOIN system_vm s ON s.id = t.id JOIN machine m ON m.id = t.id',
      where: [
        where.equal('t.id', params.id?.id),
        where.equal('s.zone_id', params.zoneid?.id),
        where.equal('t.outcome', params.state),
        where.equal('s.kind', Object.entries(apiKinds).find(([, name]) => name === params.systemvmtype)?.[0]),
      ],
      keyword: ['m.instance_name', 't.failed_stage'],
      order: 't.started_at DESC, t.id',
      load: (ids) => loadBoots(context.db, ids),
    }),
});
