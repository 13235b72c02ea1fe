import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { users } from '../../core/owners.ts';
import { p, required } from '../../core/params.ts';
import { loadUsers, userByKeyView } from '../views.ts';

export const getUser = command({
  name: 'getUser',
  about: 'Finds the user of an API key.',
  access: 'admin',
  params: { userapikey: required(p.string('the API key of the user', { match: /^[\w-]+$/ })) },
  reply: reply.one(userByKeyView),
  run: async ({ db }, { userapikey: apiKey }) => {
    const user = await db.read.findOneBy(users, { apiKey, removedAt: IsNull() });
    const [shown] = user ? await loadUsers(db, [user.id]) : [];
    if (!shown) throw new CloudError('NotFound', 'no user has this API key');
    return { ...shown, apiKey };
  },
});
