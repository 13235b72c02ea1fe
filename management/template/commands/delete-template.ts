import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { zoneKind } from '../../infra/index.ts';
import { diskTemplateKind } from '../kinds.ts';
import { deleteTemplateSaga } from '../sagas/delete-template.ts';
import { mustNotBeSystem } from '../update.ts';

export const deleteTemplate = command({
  name: 'deleteTemplate',
  about: 'Deletes a template. Machines made of it go on; what their disks are based on stays as long as they need it.',
  access: 'user',
  event: { type: 'TEMPLATE.DELETE', text: 'deleting template' },
  params: {
    id: required(p.entity('the template', diskTemplateKind, 'operate')),
    zoneid: p.entity('only in this zone', zoneKind, 'use'),
  },
  reply: reply.job(null),
  run: (context, { id: template, zoneid: zone }) => {
    mustNotBeSystem(template);
    return context.start(
      deleteTemplateSaga,
      { templateId: template.id, zoneId: zone?.id ?? null },
      { instance: { type: 'Template', id: template.id }, text: `deleting template ${template.name}` },
    );
  },
});
