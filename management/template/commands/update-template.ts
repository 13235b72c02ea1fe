import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { p, required } from '../../core/params.ts';
import { diskTemplateKind } from '../kinds.ts';
import { update, updateParams } from '../update.ts';
import { templateView } from '../views.ts';

export const updateTemplate = command({
  name: 'updateTemplate',
  about: 'Changes what is said of a template; machines that exist already stay as they are.',
  access: 'user',
  event: { type: 'TEMPLATE.UPDATE', text: 'updating template', resource: 'Template' },
  params: {
    ...updateParams,
    id: required(p.entity('the template', diskTemplateKind, 'operate')),
    passwordenabled: p.boolean('true if it asks the virtual router for its password'),
    sshkeyenabled: p.boolean('true if it takes ssh keys'),
    requireshvm: p.boolean('true if it needs full virtualization'),
    details: p.details('details of the template, by name; they take the place of those there are'),
    cleanupdetails: p.boolean('true to remove all of its details'),
    templatetag: p.string('the host tag that its machines need; only root admins can give one'),
  },
  reply: reply.one(templateView),
  run: async (context, { id: template, passwordenabled, sshkeyenabled, requireshvm, details, cleanupdetails, templatetag, ...params }) => {
    if (templatetag !== undefined && !isRootAdmin(context.caller))
      throw new CloudError('Forbidden', 'templatetag can be given by root admins only');
    return update(context, template, params, {
      ...(passwordenabled === undefined ? {} : { passwordEnabled: passwordenabled }),
      ...(sshkeyenabled === undefined ? {} : { sshKeyEnabled: sshkeyenabled }),
      ...(requireshvm === undefined ? {} : { requiresHvm: requireshvm }),
      ...(templatetag === undefined ? {} : { tag: templatetag === '' ? null : templatetag }),
      ...(cleanupdetails ? { details: {} } : details === undefined ? {} : { details }),
    });
  },
});
