import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { userKind } from '../principals.ts';
import { keysView } from '../views.ts';

export const getUserKeys = command({
  name: 'getUserKeys',
  about: 'Shows the API key and secret key of a user.',
  access: 'user',
  params: { id: required(p.entity('the user', userKind, 'operate')) },
  reply: reply.one(keysView),
  run: async ({ secrets }, { id: { apiKey, secretKey } }) => {
    if (!apiKey || !secretKey) throw new CloudError('NotFound', 'the user has no keys yet; registerUserKeys makes them');
    return { apiKey, secretKey: secrets.open(secretKey).reveal() };
  },
});
