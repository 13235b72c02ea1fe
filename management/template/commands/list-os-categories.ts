import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import type { OsCategory } from '../kinds.ts';
import { osCategoryKind } from '../kinds.ts';
import { osCategoryView } from '../views.ts';

const CATEGORIES = '(SELECT category_id AS id, MIN(category_name) AS name FROM os_type GROUP BY category_id) t';

export const listOsCategories = command({
  name: 'listOsCategories',
  about: 'Lists the families of operating systems.',
  access: 'user',
  params: {
    ...pageParams,
    id: p.entity('the category of this id', osCategoryKind, 'list'),
    name: p.string('the category of exactly this name'),
  },
  reply: reply.list(osCategoryView),
  run: (context, params) =>
    list(context, params, {
      from: CATEGORIES,
      where: [where.equal('t.id', params.id?.id), where.equal('t.name', params.name)],
      keyword: ['t.name'],
      order: 't.name',
      load: (ids) => context.db.rows<OsCategory>(`SELECT t.id AS id, t.name AS name FROM ${CATEGORIES} WHERE t.id IN (?)`, [ids]),
    }),
});
