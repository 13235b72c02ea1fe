import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { p, required } from '../../core/params.ts';
import { hypervisorNames } from '../../infra/index.ts';
import { oneZone, register, registerParams, someZones } from '../register.ts';
import { templateView } from '../views.ts';

export const registerTemplate = command({
  name: 'registerTemplate',
  about: 'Registers a template; the secondary storage VM of its zone then fetches it from its URL.',
  access: 'user',
  event: { type: 'TEMPLATE.CREATE', text: 'creating template', resource: 'Template' },
  params: {
    ...registerParams,
    name: required(p.string('the name of the template')),
    url: required(p.string('where the file is, by http or https', { max: 2048 })),
    format: required(p.word('the format of the file', ['QCOW2', 'RAW', 'VHD', 'VHDX', 'VMDK', 'OVA'])),
    hypervisor: required(p.word('the hypervisor it is for', hypervisorNames)),
    zoneid: oneZone,
    zoneids: someZones,
    requireshvm: p.boolean('true, as when left out, if it needs full virtualization'),
    passwordenabled: p.boolean('true if it asks the virtual router for its password'),
    sshkeyenabled: p.boolean('true if it takes ssh keys'),
    details: p.details('details of the template, by name'),
    templatetag: p.string('the host tag that its machines need; only root admins can give one'),
  },
  reply: reply.list(templateView),
  run: (context, { zoneid, zoneids, templatetag, ...params }) => {
    if (zoneid !== undefined && zoneids !== undefined) throw new CloudError('InvalidParameter', 'give either zoneid or zoneids, not both');
    if (templatetag !== undefined && !isRootAdmin(context.caller))
      throw new CloudError('Forbidden', 'templatetag can be given by root admins only');
    return register(context, {
      ...params,
      kind: 'template',
      zones: zoneid === undefined || zoneid === 'every' ? (zoneid ?? zoneids) : [zoneid],
      bootable: true,
      passwordEnabled: params.passwordenabled ?? false,
      sshKeyEnabled: params.sshkeyenabled ?? false,
      requiresHvm: params.requireshvm ?? true,
      tag: templatetag ?? null,
      details: params.details ?? {},
    });
  },
});
