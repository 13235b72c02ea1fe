import { command, reply } from '../../core/command.ts';
import { where } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { diskTemplateKind } from '../kinds.ts';
import { imageListParams, listImages } from '../lists.ts';
import { templateView } from '../views.ts';
import { templateFilters } from '../visibility.ts';

export const listTemplates = command({
  name: 'listTemplates',
  about: 'Lists templates, with one line for each zone a template is in.',
  access: 'user',
  params: {
    ...imageListParams,
    templatefilter: required(
      p.word('featured, self, selfexecutable, shared, sharedexecutable, executable, community or (administrators) all', templateFilters),
    ),
    id: p.entity('the template of this id', diskTemplateKind, 'list'),
    ids: p.entities('the templates of these ids', diskTemplateKind, 'list'),
    templatetype: p.string('those of this type'),
  },
  reply: reply.list(templateView),
  run: (context, params) =>
    listImages(context, params, {
      kind: 'template',
      ids: params.id ? [params.id.id] : params.ids?.map(({ id }) => id),
      filter: params.templatefilter,
      more: [where.equal('t.type', params.templatetype?.toUpperCase())],
    }),
});
