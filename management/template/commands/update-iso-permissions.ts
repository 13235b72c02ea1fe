import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { isoKind } from '../kinds.ts';
import { permissionParams, updatePermissions } from '../permissions.ts';

export const updateIsoPermissions = command({
  name: 'updateIsoPermissions',
  about: 'Changes who may use an ISO: everybody, or single accounts in the domain of its owner.',
  access: 'user',
  event: { type: 'ISO.UPDATE', text: 'updating permissions of ISO', resource: 'Iso' },
  params: { ...permissionParams, id: required(p.entity('the ISO', isoKind, 'operate')) },
  reply: reply.success(),
  run: (context, { id: iso, ...params }) => updatePermissions(context, iso, params),
});
