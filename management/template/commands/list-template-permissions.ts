import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { diskTemplateKind } from '../kinds.ts';
import { permissionsOf, permissionsView } from '../permissions.ts';

export const listTemplatePermissions = command({
  name: 'listTemplatePermissions',
  about: 'Tells who may use a template beside its owner.',
  access: 'user',
  params: { id: required(p.entity('the template', diskTemplateKind, 'operate')) },
  reply: reply.one(permissionsView),
  run: (context, { id: template }) => permissionsOf(context, template),
});
