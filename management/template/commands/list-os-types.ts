import { In } from 'typeorm';
import type { Id } from '../../../protocol/schema.ts';
import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { osTypes } from '../entities.ts';
import { osCategoryKind, osTypeKind } from '../kinds.ts';
import { osTypeView } from '../views.ts';

export const listOsTypes = command({
  name: 'listOsTypes',
  about: 'Lists the operating systems that a template or machine can be said to hold.',
  access: 'user',
  params: {
    ...pageParams,
    id: p.entity('the OS type of this id', osTypeKind, 'list'),
    oscategoryid: p.entity('OS types of this category', osCategoryKind, 'list'),
    description: p.string('OS types of exactly this name'),
  },
  reply: reply.list(osTypeView),
  run: (context, params) =>
    list(context, params, {
      from: 'os_type t',
      where: [
        where.equal('t.id', params.id?.id),
        where.equal('t.category_id', params.oscategoryid?.id),
        where.equal('t.name', params.description),
      ],
      keyword: ['t.name'],
      order: 't.category_name, t.name',
      load: (ids) => context.db.read.findBy(osTypes, { id: In(ids.map((id) => id as Id<'osType'>)) }),
    }),
});
