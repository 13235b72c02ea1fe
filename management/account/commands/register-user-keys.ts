import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { registerKeys } from '../accounts.ts';
import { userKind } from '../principals.ts';
import { keysView } from '../views.ts';

export const registerUserKeys = command({
  name: 'registerUserKeys',
  about: 'Makes a new API key and secret key for a user; the former ones end at once.',
  access: 'user',
  event: { type: 'REGISTER.USER.KEY', text: 'registering for the developer API keys', resource: 'User' },
  params: { id: required(p.entity('the user', userKind, 'operate')) },
  reply: reply.one(keysView),
  run: (context, { id: user }) => registerKeys(context, user.id),
});
