/** What happens when a host's link comes and goes. */
import { isDeepStrictEqual } from 'node:util';
import { In, IsNull } from 'typeorm';
import { call } from '../../protocol/message.ts';
import { ConfigureHost, DescribeHost, type HostDescription } from '../../protocol/messages/host.ts';
import type { Id } from '../../protocol/schema.ts';
import { systemAccount } from '../account/index.ts';
import type { AgentHooks, Peer } from '../core/area.ts';
import { newRequestId } from '../core/command.ts';
import { type Database, lock } from '../core/db.ts';
import { alertTypes, raiseAlert, resolveAlert, writeEvent } from '../core/events.ts';
import { gatheredRows } from '../core/gather.ts';
import type { Services } from '../core/services.ts';
import { alerts } from '../core/tables.ts';
import { HOST_CONTROL_ADDRESS } from './addresses.ts';
import { type BridgeLabel, bridgeLabels, bridgesFrom, bridgesOf } from './bridges.ts';
import { type HostRow, hosts } from './entities.ts';

const hostOf = ({ kind, id }: Peer): Id<'host'> | null => (kind === 'host' ? (id as Id<'host'>) : null);

// A thousand hosts come back at once after a restart, so what each of them needs is read for many together.
const hostsOfId = gatheredRows<Id<'host'>, HostRow>(
  (db, ids) => db.read.findBy(hosts, { id: In([...ids]) }),
  ({ id }) => id,
);
const labelsOfZone = gatheredRows<Id<'zone'>, BridgeLabel>(
  (db, ids) => bridgeLabels(db.read, ids),
  ({ zoneId }) => zoneId,
);
const openAlertsOf = gatheredRows<string, { resourceId: string | null }>(
  (db, ids) =>
    db.read.find(alerts, {
      where: { type: alertTypes.host[0], resourceId: In([...ids]), resolvedAt: IsNull() },
      select: { resourceId: true },
    }),
  ({ resourceId }) => resourceId,
);
const livingHost = async (db: Database, id: Id<'host'>): Promise<HostRow | null> => {
  const [host] = await hostsOfId(db, id);
  return host && host.removedAt === null ? host : null;
};

export const hostHooks: AgentHooks = {
  /** Management must know the host before it sends machines there, and the host its relay before routers dial it. */
  prepare: async (services, peer) => {
    const id = hostOf(peer);
    const host = id && (await livingHost(services.db, id));
    if (!host) return;
    await describe(services, host);
    await services.agents.ask(
      { kind: 'host', id: host.id },
      call(ConfigureHost, {
        controlAddress: `${HOST_CONTROL_ADDRESS}/16`,
        relayTargets: [...services.config.advertise],
        vncListenAddress: host.address,
      }),
      { requestId: newRequestId() },
    );
  },
  up: async (services, peer) => {
    const id = hostOf(peer);
    const host = id && (await livingHost(services.db, id));
    if (host) await noteReturn(services, host);
  },
  bell: async (services, peer, subject) => {
    const id = hostOf(peer);
    const host = id && subject === 'host' ? await livingHost(services.db, id) : null;
    if (host) await describe(services, host);
  },
  down: async (services, peer, graceful) => {
    const id = hostOf(peer);
    const host = id && (await livingHost(services.db, id));
    if (host) await noteLoss(services, host, graceful);
  },
};

/** What changes in the record when the host says this of itself; null for nothing. */
export function changesBy(
  host: Pick<HostRow, 'name' | 'resourceState' | 'description' | 'details'>,
  description: HostDescription,
  wantedBridges: readonly string[],
): Partial<HostRow> | null {
  const missing = [...new Set(wantedBridges)].filter((bridge) => !description.bridges.includes(bridge));
  const details: Record<string, string> = { ...host.details, accelerator: description.accelerator };
  if (description.acceleratorReason !== '') details['acceleratorReason'] = description.acceleratorReason;
  else delete details['acceleratorReason'];
  // A simulated host carries any traffic.
  if (missing.length > 0 && description.accelerator !== 'simulated') details['missingBridges'] = missing.join(',');
  else delete details['missingBridges'];
  if (isDeepStrictEqual(host.description, description) && isDeepStrictEqual(host.details, details)) return null;
  return {
    description,
    details,
    cpuCount: description.cpuCount,
    cpuMhz: description.cpuMhz,
    memoryMib: description.memoryMib,
    // From then on the name is the operator's, who may have changed it.
    ...(host.resourceState === 'Creating' ? { name: description.hostName.slice(0, 255) } : {}),
  };
}

async function describe({ db, agents, log }: Services, { id }: HostRow): Promise<void> {
  const description = await agents.ask({ kind: 'host', id }, call(DescribeHost, {}), { requestId: newRequestId() });
  // Mostly it says what it said before, and then nothing needs a lock.
  const known = await livingHost(db, id);
  if (!known || !changesBy(known, description, Object.values(bridgesFrom(await labelsOfZone(db, known.zoneId))))) return;
  await db.transact(async (tx) => {
    const host = await lock(tx, hosts, { id });
    if (!host || host.removedAt) return;
    const changes = changesBy(host, description, Object.values(await bridgesOf(tx, host.zoneId)));
    if (!changes) return;
    await tx.update(hosts, { id }, changes);
    const missing = changes.details?.['missingBridges'];
    if (missing) log.warn({ host: host.name, missing }, 'the host lacks bridges that the traffic types of its zone name');
  });
}

async function noteReturn({ db }: Services, { id, name }: HostRow): Promise<void> {
  if ((await openAlertsOf(db, id)).length === 0) return;
  await db.transact(async (tx) => {
    const open = await tx.existsBy(alerts, { type: alertTypes.host[0], resourceId: id, resolvedAt: IsNull() });
    if (!open) return;
    await resolveAlert(tx, 'host', id);
    const { id: accountId, domainId } = await systemAccount(tx);
    await writeEvent(tx, {
      type: 'HOST.RECONNECT',
      description: `The host ${name} has its link back`,
      owner: { accountId, domainId, userId: null },
      resource: { type: 'Host', id },
    });
  });
}

async function noteLoss(
  { db }: Services,
  { id, name, zoneId, podId, clusterId, resourceState }: HostRow,
  graceful: boolean,
): Promise<void> {
  const words = graceful ? `The agent of the host ${name} was stopped` : `The link to the host ${name} is lost`;
  await db.transact(async (tx) => {
    const { id: accountId, domainId } = await systemAccount(tx);
    await writeEvent(tx, {
      type: 'ALERT.COMPUTE.HOST',
      level: 'WARN',
      description: words,
      owner: { accountId, domainId, userId: null },
      resource: { type: 'Host', id },
    });
    // The operator knows of a host in maintenance, and one that is being added has its own ways to fail.
    if (resourceState === 'Maintenance' || resourceState === 'Creating') return;
    await raiseAlert(tx, 'host', `${words}; its machines may go on running, and nothing can be started there`, {
      zoneId,
      podId,
      clusterId,
      resourceId: id,
    });
  });
}
