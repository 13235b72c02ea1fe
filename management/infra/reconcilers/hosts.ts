import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import type { AgentRow } from '../../core/tables.ts';
import { discardCreating, finishHost } from '../add-host.ts';
import type { HostRow } from '../entities.ts';
import { simulatedHosts } from '../installer.ts';

/** Longer than installing may take and join tokens live. */
export const ABANDONED_MS = 15 * 60_000;

interface Creating {
  id: HostRow['id'];
  name: string;
  createdAt: Date;
  agentState: AgentRow['state'];
}

/** Ends what a server that died while adding a host has left: the host is there, or it is not. */
export const hostsReconciler = reconciler({
  name: 'infra.hosts',
  everySeconds: 30,
  wakeOn: ['agent'],
  run: async (services) => {
    for (const host of await creating(services)) await end(services, host);
  },
});

const creating = ({ db }: Services): Promise<Creating[]> =>
  db.rows<Creating>(
    `SELECT h.id AS id, h.name AS name, h.created_at AS createdAt, a.state AS agentState FROM host h JOIN agent a ON a.id = h.id
      WHERE h.resource_state = 'Creating' AND h.removed_at IS NULL`,
  );

async function end({ db, agents, log, wake }: Services, { id, name, createdAt, agentState }: Creating): Promise<void> {
  if (agentState === 'Up') {
    await db.transact((tx) => finishHost(tx, id));
    wake('host');
    return;
  }
  if (Date.now() - createdAt.getTime() < ABANDONED_MS) return;
  if (!(await db.transact((tx) => discardCreating(tx, id)))) return;
  agents.drop(id, 'the host was not added');
  await simulatedHosts()?.remove(id);
  log.warn({ host: name, id }, 'a host whose agent never came is no longer waited for; add it again');
}
