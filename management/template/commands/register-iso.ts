import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { oneZone, register, registerParams } from '../register.ts';
import { isoView } from '../views.ts';

export const registerIso = command({
  name: 'registerIso',
  about: 'Registers an ISO; the secondary storage VM of its zone then fetches it from its URL.',
  access: 'user',
  event: { type: 'ISO.CREATE', text: 'creating ISO', resource: 'Iso' },
  params: {
    ...registerParams,
    name: required(p.string('the name of the ISO')),
    url: required(p.string('where the file is, by http or https', { max: 2048 })),
    zoneid: required(oneZone),
    bootable: p.boolean('true, as when left out, if machines can boot it'),
  },
  reply: reply.list(isoView),
  run: (context, { zoneid, ...params }) =>
    register(context, {
      ...params,
      kind: 'iso',
      format: 'ISO',
      hypervisor: null,
      zones: zoneid === 'every' ? zoneid : [zoneid],
      bootable: params.bootable ?? true,
      passwordEnabled: false,
      sshKeyEnabled: false,
      requiresHvm: true,
      tag: null,
      details: {},
    }),
});
