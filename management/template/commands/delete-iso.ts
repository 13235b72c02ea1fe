import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { zoneKind } from '../../infra/index.ts';
import { isoKind } from '../kinds.ts';
import { deleteTemplateSaga } from '../sagas/delete-template.ts';

export const deleteIso = command({
  name: 'deleteIso',
  about: 'Deletes an ISO. Machines that have it in their drive keep it until they stop.',
  access: 'user',
  event: { type: 'ISO.DELETE', text: 'deleting ISO' },
  params: {
    id: required(p.entity('the ISO', isoKind, 'operate')),
    zoneid: p.entity('only in this zone', zoneKind, 'use'),
  },
  reply: reply.job(null),
  run: (context, { id: iso, zoneid: zone }) =>
    context.start(
      deleteTemplateSaga,
      { templateId: iso.id, zoneId: zone?.id ?? null },
      { instance: { type: 'Iso', id: iso.id }, text: `deleting ISO ${iso.name}` },
    ),
});
