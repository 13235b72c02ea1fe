/** What listTemplates and listIsos have in common. */
import type { Page } from '../core/command.ts';
import type { Context } from '../core/context.ts';
import { type Filter, list, type OwnerParams, ownerParams, type PageParams, pageParams, where } from '../core/list.ts';
import { p } from '../core/params.ts';
import { type ZoneRow, zoneKind } from '../infra/index.ts';
import type { ImageStoreRow, TemplateRow } from './entities.ts';
import { imageStoreKind, type OsCategory, osCategoryKind } from './kinds.ts';
import { architectures } from './register.ts';
import { loadTemplates, type TemplateShown } from './views.ts';
import { onlyFirstZone, TEMPLATES_IN_ZONES, type TemplateFilter, visible } from './visibility.ts';

export const imageListParams = {
  ...pageParams,
  ...ownerParams,
  name: p.string('those of exactly this name'),
  zoneid: p.entity('those in this zone', zoneKind, 'list'),
  hypervisor: p.string('those for this hypervisor'),
  arch: p.word('those for this CPU architecture', architectures),
  oscategoryid: p.entity('those whose OS type is in this category', osCategoryKind, 'list'),
  imagestoreid: p.entity('those on this image store', imageStoreKind, 'list', { adminOnly: true }),
  isready: p.boolean('true for those that machines can be made of, false for the others'),
  showunique: p.boolean('true for one line per template instead of one per zone'),
};

interface ImageListParams extends PageParams, OwnerParams {
  readonly name?: string | undefined;
  readonly zoneid?: ZoneRow | undefined;
  readonly hypervisor?: string | undefined;
  readonly arch?: TemplateRow['architecture'] | undefined;
  readonly oscategoryid?: OsCategory | undefined;
  readonly imagestoreid?: ImageStoreRow | undefined;
  readonly isready?: boolean | undefined;
  readonly showunique?: boolean | undefined;
}

export async function listImages(
  context: Context,
  params: ImageListParams,
  { kind, ids, filter, more }: { kind: TemplateRow['kind']; ids: readonly string[] | undefined; filter: TemplateFilter; more: Filter[] },
): Promise<Page<TemplateShown>> {
  const { isready, showunique = false } = params;
  return list(context, params, {
    from: TEMPLATES_IN_ZONES,
    where: [
      where.equal('t.kind', kind),
      where.oneOf('t.template_id', ids),
      where.equal('t.name', params.name),
      where.equal('t.zone_id', params.zoneid?.id),
      params.hypervisor === undefined ? null : where.sql('LOWER(t.hypervisor) = LOWER(?)', params.hypervisor),
      where.equal('t.architecture', params.arch),
      params.oscategoryid === undefined
        ? null
        : where.sql('t.os_type_id IN (SELECT o.id FROM os_type o WHERE o.category_id = ?)', params.oscategoryid.id),
      where.equal('t.store_id', params.imagestoreid?.id),
      isready === undefined ? null : where.sql(isready ? "t.image_state = 'DOWNLOADED'" : "t.image_state <> 'DOWNLOADED'"),
      showunique ? onlyFirstZone : null,
      ...more,
      ...(await visible(context, filter, { ...params, byId: ids !== undefined })),
    ],
    keyword: ['t.name', 't.display_text'],
    load: async (imageIds) =>
      (await loadTemplates(context.db, { imageIds }, context.caller)).map((row) => (showunique ? { ...row, inZone: false } : row)),
  });
}
