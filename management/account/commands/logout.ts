import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { f, view } from '../../core/view.ts';

const logoutView = view<{ description: string }>('LogoutCmdResponse', 'logout', {
  description: f.string('success', (row) => row.description),
});

export const logout = command({
  name: 'logout',
  about: 'Ends the session.',
  access: 'public',
  params: {},
  reply: reply.flat(logoutView),
  run: async ({ session }) => {
    if (!(await session?.close())) throw new CloudError('InvalidParameter', 'there is no session to end');
    return { description: 'success' };
  },
});
