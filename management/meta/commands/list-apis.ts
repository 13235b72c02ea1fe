import { CloudError } from '../../../protocol/errors.ts';
import { type AnyCommand, command, mayCall, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { p } from '../../core/params.ts';
import { apiView, describe } from '../apis.ts';

export const listApis = (commands: () => readonly AnyCommand[]) =>
  command({
    name: 'listApis',
    about: 'Lists the commands that the caller may use, with their parameters and replies.',
    access: 'user',
    params: { name: p.string('only the command of this name') },
    reply: reply.list(apiView),
    run: async ({ caller }, { name }) => {
      // Login and logout are a matter of the session and no commands of the API.
      const offered = commands().filter((each) => each.access !== 'public' && mayCall(each, caller));
      const wanted = name === undefined ? offered : offered.filter((each) => each.name.toLowerCase() === name.toLowerCase());
      if (name !== undefined && wanted.length === 0)
        throw new CloudError('Internal', `The API ${name.slice(0, 100)} does not exist or is not available for this account`);
      const admin = isRootAdmin(caller);
      return { count: wanted.length, rows: wanted.map((each) => describe(each, { admin })) };
    },
  });
