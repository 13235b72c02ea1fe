import { CloudError } from '../../../protocol/errors.ts';
import { s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { agents } from '../../core/tables.ts';
import { show } from '../../core/view.ts';
import { livingHost } from '../add-host.ts';
import { hostView, loadHosts } from '../host-views.ts';
import { one } from '../views.ts';

const WAIT_SECONDS = 60;

export const reconnect = saga({
  name: 'host.reconnect',
  version: 1,
  input: s.object({ hostId: s.id('host') }),
  run: async (run, { hostId: id }) => {
    const before = await run.step('look', async (tx) => {
      const agent = (await livingHost(tx, id)) && (await tx.findOneBy(agents, { id }));
      if (!agent) throw new CloudError('NotFound', 'the host has been removed meanwhile');
      return agent.generation;
    });
    // Cutting a link twice only makes the agent come back once more.
    await run.step('cut', async (_tx, services) => services.agents.drop(id, 'an administrator wants it to connect anew'));
    await run.until(
      'up',
      async (tx) => {
        const agent = await tx.findOneBy(agents, { id });
        return agent && agent.state === 'Up' && agent.generation > before ? true : undefined;
      },
      { timeoutSeconds: WAIT_SECONDS, timeoutMessage: `the agent of the host did not connect within ${WAIT_SECONDS} seconds` },
    );
  },
  result: async (context, _outcome, { hostId }) => ({
    [hostView.key]: show(hostView.fields, one(await loadHosts(context, [hostId])), { admin: true }),
  }),
});
