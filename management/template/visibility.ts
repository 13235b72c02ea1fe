/** Which templates and ISOs a list shows: what the words of templatefilter and isofilter mean. */
import { CloudError } from '../../protocol/errors.ts';
import { type Context, isRootAdmin } from '../core/context.ts';
import { type Filter, type OwnerParams, scopeFilters, where } from '../core/list.ts';

export const templateFilters = [
  'featured',
  'self',
  'selfexecutable',
  'shared',
  'sharedexecutable',
  'executable',
  'community',
  'all',
] as const;
export type TemplateFilter = (typeof templateFilters)[number];

/** Filters that show only what machines can be made of now. */
const READY: readonly TemplateFilter[] = ['featured', 'selfexecutable', 'sharedexecutable', 'executable', 'community'];

/** Rows of template × zone, one statement's FROM: an id, whose it is and where it is. */
export const TEMPLATES_IN_ZONES = `(SELECT si.id AS id, si.template_id AS template_id, si.zone_id AS zone_id, si.store_id AS store_id, si.state AS image_state,
    te.account_id AS account_id, te.domain_id AS domain_id, te.name AS name, te.display_text AS display_text, te.kind AS kind, te.type AS type, te.hypervisor AS hypervisor,
    te.architecture AS architecture, te.is_public AS is_public, te.is_featured AS is_featured, te.bootable AS bootable, te.os_type_id AS os_type_id
  FROM stored_image si JOIN template te ON te.id = si.template_id WHERE si.removed_at IS NULL AND te.removed_at IS NULL) t`;

/** One row per template instead of one per zone. */
export const onlyFirstZone = where.sql(
  'NOT EXISTS (SELECT 1 FROM stored_image o WHERE o.template_id = t.template_id AND o.removed_at IS NULL AND o.id < t.id)',
);

export async function visible(
  context: Context,
  filter: TemplateFilter,
  { byId, ...scope }: OwnerParams & { byId: boolean },
): Promise<Filter[]> {
  const { caller } = context;
  // By id it is shown to all who may use it, in whatever state; the parameter has checked that.
  if (byId) return [];
  const ready = READY.includes(filter) ? [where.sql("t.image_state = 'DOWNLOADED'")] : [];
  const notOurs = where.sql("t.type <> 'SYSTEM'");
  const granted = 't.template_id IN (SELECT g.template_id FROM template_grant g WHERE g.account_id = ?)';
  switch (filter) {
    case 'featured':
      return [...ready, notOurs, where.sql('t.is_public AND t.is_featured')];
    case 'community':
      return [...ready, notOurs, where.sql('t.is_public AND NOT t.is_featured')];
    case 'self':
    case 'selfexecutable':
      return [...ready, notOurs, ...(await scopeFilters(context, scope))];
    case 'shared':
    case 'sharedexecutable':
      return [...ready, notOurs, where.sql(granted, caller.accountId)];
    case 'executable':
      return [...ready, notOurs, either(await scopeFilters(context, scope), 't.is_public', granted, caller.accountId)];
    case 'all':
      if (caller.accountType === 'user') throw new CloudError('InvalidParameter', 'the filter all is for administrators only');
      if (isRootAdmin(caller)) return scopeFilters(context, { ...scope, listall: true });
      return [notOurs, either(await scopeFilters(context, { ...scope, listall: true }), 't.is_public', granted, caller.accountId)];
  }
}

/** What is in the caller's scope, and beside it what anybody shares with the caller. */
function either(scope: readonly Filter[], shared: string, granted: string, accountId: string): Filter {
  const given = scope.filter((each) => each !== null);
  if (given.length === 0) return null;
  return where.sql(
    `((${given.map(({ sql }) => sql).join(' AND ')}) OR ${shared} OR ${granted})`,
    ...given.flatMap(({ values }) => values),
    accountId,
  );
}
