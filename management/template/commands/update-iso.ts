import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { isoKind } from '../kinds.ts';
import { update, updateParams } from '../update.ts';
import { isoView } from '../views.ts';

export const updateIso = command({
  name: 'updateIso',
  about: 'Changes what is said of an ISO.',
  access: 'user',
  event: { type: 'ISO.UPDATE', text: 'updating ISO', resource: 'Iso' },
  params: { ...updateParams, id: required(p.entity('the ISO', isoKind, 'operate')) },
  reply: reply.one(isoView),
  run: (context, { id: iso, ...params }) => update(context, iso, params),
});
