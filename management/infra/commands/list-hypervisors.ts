import { command, reply } from '../../core/command.ts';
import { p } from '../../core/params.ts';
import { f, view } from '../../core/view.ts';
import { type HypervisorName, hypervisorNames } from '../entities.ts';
import { zoneKind } from '../kinds.ts';

const hypervisorView = view<{ readonly name: HypervisorName }>('HypervisorResponse', 'hypervisor', {
  name: f.string('name of the hypervisor', ({ name }) => name),
});

export const listHypervisors = command({
  name: 'listHypervisors',
  about: 'Lists hypervisors: all there can be, or those of a zone.',
  access: 'user',
  params: { zoneid: p.entity('only hypervisors of this zone', zoneKind, 'list') },
  reply: reply.list(hypervisorView),
  run: async ({ config, db }, { zoneid }) => {
    const inUse = zoneid
      ? await db.rows<{ name: HypervisorName }>(
          'SELECT DISTINCT hypervisor AS name FROM cluster WHERE zone_id = ? AND removed_at IS NULL',
          [zoneid.id],
        )
      : null;
    const rows = hypervisorNames
      .filter((name) => (inUse ? inUse.some((each) => each.name === name) : name !== 'Simulator' || config.simulator))
      .map((name) => ({ name }));
    return { count: rows.length, rows };
  },
});
