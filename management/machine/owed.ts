/** Undoes that could not reach their machine are asked as soon as it is back. */

import { RebootMachine, StopMachine } from '../../protocol/messages/machine.ts';
import { DetachPool, RemoveVolume } from '../../protocol/messages/storage.ts';
import { s } from '../../protocol/schema.ts';
import { reconciler } from '../core/reconcile.ts';
import { agents, owedAsks } from '../core/tables.ts';

/** Undoes are of these kinds; their answers say nothing that anybody waits for. */
const names = new Map(
  [StopMachine, RemoveVolume, RebootMachine, DetachPool].map(({ name, patience }) => [name, { name, patience, answer: s.json() }]),
);

export const owedAsksReconciler = reconciler({
  name: 'owedAsks',
  everySeconds: 30,
  wakeOn: ['agent'],
  run: async ({ db, agents: asks, log }) => {
    for (const owed of await db.read.find(owedAsks, { order: { id: 'ASC' }, take: 500 })) {
      const agent = await db.read.findOneBy(agents, { id: owed.agentId });
      const message = names.get(owed.message);
      if (agent && agent.state !== 'Removed' && message) {
        if (agent.state !== 'Up') continue;
        try {
          await asks.ask(
            { kind: owed.agentKind, id: owed.agentId },
            { message, ask: owed.ask },
            { requestId: `owed ${owed.jobId}`, linkGraceSeconds: 0 },
          );
        } catch (error) {
          log.warn({ err: error, owed: owed.id }, 'an owed undo was not done; it is tried again');
          continue;
        }
      }
      await db.transact((tx) => tx.delete(owedAsks, { id: owed.id }));
    }
  },
});
