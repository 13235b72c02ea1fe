import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { zoneKind } from '../kinds.ts';
import { loadZones, zoneView } from '../views.ts';

export const listZones = command({
  name: 'listZones',
  about: 'Lists zones. Those that are Disabled are shown to administrators only.',
  access: 'user',
  params: {
    ...pageParams,
    id: p.entity('only this zone', zoneKind, 'list'),
    ids: p.entities('only these zones', zoneKind, 'list'),
    name: p.string('only the zone of this name'),
    networktype: p.string('only zones of this type; all are Advanced'),
    available: p.boolean('false: only zones in which the account has machines'),
    showcapacities: p.boolean('also show what there is and what is used; for administrators'),
  },
  reply: reply.list(zoneView),
  run: (context, params) => {
    const { caller } = context;
    return list(context, params, {
      from: 'zone t',
      where: [
        where.sql('t.removed_at IS NULL'),
        isRootAdmin(caller) ? null : where.sql("t.allocation_state = 'Enabled'"),
        where.equal('t.id', params.id?.id),
        where.oneOf(
          't.id',
          params.ids?.map(({ id }) => id),
        ),
        where.equal('t.name', params.name),
        where.equal('t.network_type', params.networktype),
        params.available === false && !isRootAdmin(caller)
          ? where.sql(
              'EXISTS (SELECT 1 FROM machine m WHERE m.zone_id = t.id AND m.account_id = ? AND m.removed_at IS NULL)',
              caller.accountId,
            )
          : null,
      ],
      keyword: ['t.name', 't.description'],
      load: (ids) => loadZones(context, ids, { capacities: params.showcapacities === true && isRootAdmin(caller) }),
    });
  },
});
