/** What hosts keep of machines, such as what a tenant's guest said on its serial console, goes when the machine is gone for good. */
import { In, IsNull, Not } from 'typeorm';
import { call } from '../../protocol/message.ts';
import { ForgetMachines, ListRemains } from '../../protocol/messages/machine.ts';
import type { Id } from '../../protocol/schema.ts';
import { reconciler } from '../core/reconcile.ts';
import type { Services } from '../core/services.ts';
import { agents } from '../core/tables.ts';
import { machines } from './entities.ts';

const SWEEP_SECONDS = 3600;
/** A machine whose transaction had not ended at the last look is found at this one. */
const OVERLAP_MS = 60_000;
const IDS_MAX = 1000;
const options = { requestId: 'machine.remains', linkGraceSeconds: 0 };

let lastLookMs = 0;
let lastSweepMs = 0;

/** At once on the host where it ran last; on others, and on those that were away, within the hour. */
export const remainsReconciler = reconciler({
  name: 'machine.remains',
  everySeconds: 60,
  wakeOn: ['machineGone'],
  run: async (services) => {
    const now = Date.now();
    const since = lastLookMs;
    lastLookMs = now;
    if (now - lastSweepMs >= SWEEP_SECONDS * 1000) {
      lastSweepMs = now;
      await sweep(services);
    } else await forgetLatest(services, new Date(since - OVERLAP_MS));
  },
});

async function forgetLatest({ db, agents: asks, log }: Services, since: Date): Promise<void> {
  const gone = await db.rows<{ id: Id<'machine'>; hostId: Id<'host'> }>(
    `SELECT m.id AS id, m.last_host_id AS hostId FROM machine m JOIN agent a ON a.id = m.last_host_id WHERE m.removed_at > ? AND a.state = 'Up'`,
    [since],
  );
  const byHost = new Map<Id<'host'>, Id<'machine'>[]>();
  for (const { id, hostId } of gone) byHost.set(hostId, [...(byHost.get(hostId) ?? []), id]);
  for (const [hostId, ids] of byHost) {
    try {
      await asks.ask({ kind: 'host', id: hostId }, call(ForgetMachines, { ids: ids.slice(0, IDS_MAX) }), options);
    } catch (error) {
      log.debug({ err: error, host: hostId }, 'a host did not forget machines that are gone; it is asked again');
    }
  }
}

/** A machine that the record does not know is left to the host's own bounds: it may belong to a newer record than ours. */
async function sweep({ db, agents: asks, log }: Services): Promise<void> {
  for (const { id: hostId } of await db.read.findBy(agents, { kind: 'host', state: 'Up' })) {
    const to = { kind: 'host', id: hostId as Id<'host'> } as const;
    try {
      const { ids } = await asks.ask(to, call(ListRemains, {}), options);
      for (let i = 0; i < ids.length; i += IDS_MAX) {
        const gone = await db.read.find(machines, {
          where: { id: In(ids.slice(i, i + IDS_MAX)), removedAt: Not(IsNull()) },
          select: { id: true },
        });
        if (gone.length > 0) await asks.ask(to, call(ForgetMachines, { ids: gone.map(({ id }) => id) }), options);
      }
    } catch (error) {
      log.debug({ err: error, host: hostId }, 'a host did not tell what it keeps of machines; it is asked again in an hour');
    }
  }
}
