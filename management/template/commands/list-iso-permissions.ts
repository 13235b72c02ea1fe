import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { isoKind } from '../kinds.ts';
import { permissionsOf, permissionsView } from '../permissions.ts';

export const listIsoPermissions = command({
  name: 'listIsoPermissions',
  about: 'Tells who may use an ISO beside its owner.',
  access: 'user',
  envelope: 'listtemplatepermissionsresponse',
  params: { id: required(p.entity('the ISO', isoKind, 'operate')) },
  reply: reply.one(permissionsView),
  run: (context, { id: iso }) => permissionsOf(context, iso),
});
