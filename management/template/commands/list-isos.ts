import { command, reply } from '../../core/command.ts';
import { where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { isoKind } from '../kinds.ts';
import { imageListParams, listImages } from '../lists.ts';
import { isoView } from '../views.ts';
import { templateFilters } from '../visibility.ts';

export const listIsos = command({
  name: 'listIsos',
  about: 'Lists ISOs, with one line for each zone an ISO is in.',
  access: 'user',
  params: {
    ...imageListParams,
    isofilter: p.word(
      'featured, self, selfexecutable (as when left out), shared, sharedexecutable, executable, community or (administrators) all',
      templateFilters,
    ),
    id: p.entity('the ISO of this id', isoKind, 'list'),
    bootable: p.boolean('true for those that machines can boot'),
    ispublic: p.boolean('true for those that every account may use'),
  },
  reply: reply.list(isoView),
  run: (context, params) =>
    listImages(context, params, {
      kind: 'iso',
      ids: params.id ? [params.id.id] : undefined,
      filter: params.isofilter ?? 'selfexecutable',
      more: [where.equal('t.bootable', params.bootable), where.equal('t.is_public', params.ispublic)],
    }),
});
