import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { diskTemplateKind } from '../kinds.ts';
import { permissionParams, updatePermissions } from '../permissions.ts';

export const updateTemplatePermissions = command({
  name: 'updateTemplatePermissions',
  about: 'Changes who may use a template: everybody, or single accounts in the domain of its owner.',
  access: 'user',
  event: { type: 'TEMPLATE.UPDATE', text: 'updating permissions of template', resource: 'Template' },
  params: { ...permissionParams, id: required(p.entity('the template', diskTemplateKind, 'operate')) },
  reply: reply.success(),
  run: (context, { id: template, ...params }) => updatePermissions(context, template, params),
});
