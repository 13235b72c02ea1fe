/** What each kind of system VM is told before it counts as Up, and whenever that changes: always the whole. */
import { IsNull, MoreThan } from 'typeorm';
import { cidrOf, prefixOfNetmask } from '../../protocol/ip4.ts';
import { call } from '../../protocol/message.ts';
import { ApplyConsoleProxy } from '../../protocol/messages/console.ts';
import { ApplySecondaryStorage, REMOVED_HOSTS_MAX } from '../../protocol/messages/image.ts';
import { ApplyRouter } from '../../protocol/messages/router.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Peer } from '../core/area.ts';
import type { Services } from '../core/services.ts';
import { agents } from '../core/tables.ts';
import { ipRanges, pods } from '../infra/index.ts';
import { compileRouter } from '../network/index.ts';
import { imageStores } from '../storage/index.ts';
import { systemVms } from './entities.ts';
import { allowedInternalSites, consoleIdleMs, consoleSessionsMax, secondaryStorageProxy, secondaryStorageSessionsMax } from './settings.ts';
import { tellSshKey } from './ssh-key.ts';

export async function configure(services: Services, { kind, id }: Peer): Promise<void> {
  if (kind === 'host') return;
  const { db, agents: asks } = services;
  const row = await db.read.findOneByOrFail(systemVms, { id: id as Id<'machine'> });
  const options = { requestId: `configure ${kind}`, linkGraceSeconds: 0 };
  const keys = tellSshKey(services, { kind, id }, options.requestId);
  // Where another part fails first, this one's failure would have nobody who hears it.
  keys.catch(() => undefined);
  if (kind === 'console-proxy')
    await asks.ask({ kind, id }, call(ApplyConsoleProxy, consoleProxyConfiguration(services, row.zoneId)), options);
  if (kind === 'secondary-storage')
    await asks.ask({ kind, id }, call(ApplySecondaryStorage, await secondaryStorageConfiguration(services, row.zoneId)), options);
  if (kind === 'router' && row.networkId) {
    const { generation } = await asks.ask({ kind, id }, call(ApplyRouter, await compileRouter(services, row.networkId, row.id)), options);
    await db.rows('UPDATE network SET applied_generation = GREATEST(applied_generation, ?) WHERE id = ?', [generation, row.networkId]);
  }
  await keys;
}

/** Seconds since 1970 serve as generation: a later document has a later one. */
const generation = () => Math.floor(Date.now() / 1000);

function consoleProxyConfiguration({ settings }: Services, zoneId: Id<'zone'>) {
  return {
    generation: generation(),
    sessionsMax: settings.get(consoleSessionsMax, { zone: zoneId }),
    idleTimeoutSeconds: Math.max(10, Math.round(settings.get(consoleIdleMs, { zone: zoneId }) / 1000)),
    certificate: null,
  };
}

/** Removed hosts whose last certificate has not run out. One of any zone may come by. */
async function removedHostIds({ read }: Services['db']): Promise<Id<'host'>[]> {
  const rows = await read.find(agents, {
    where: { kind: 'host', state: 'Removed', certificateExpiresAt: MoreThan(new Date()) },
    select: { id: true },
    order: { stateSince: 'DESC' },
    take: REMOVED_HOSTS_MAX,
  });
  return rows.map(({ id }) => id as Id<'host'>);
}

async function secondaryStorageConfiguration({ db, settings }: Services, zoneId: Id<'zone'>) {
  const stores = await db.read.find(imageStores, { where: { zoneId, removedAt: IsNull() } });
  const ownPods = await db.read.find(pods, { where: { zoneId, removedAt: IsNull() } });
  const ranges = await db.read.find(ipRanges, { where: { zoneId, kind: 'storage', removedAt: IsNull() } });
  const proxyUrl = settings.get(secondaryStorageProxy, { zone: zoneId });
  return {
    generation: generation(),
    stores: stores.map(({ id, provider, server, path, details }) => ({
      id,
      provider,
      server,
      path,
      nfsVersion: (['3', '4', '4.1', '4.2'] as const).find((version) => version === details['nfs.version']) ?? null,
    })),
    allowedInternalCidrs: settings.get(allowedInternalSites, { zone: zoneId }).map((site) => (site.includes('/') ? site : `${site}/32`)),
    ownCidrs: ['169.254.0.0/16', ...[...ownPods, ...ranges].map(({ gateway, netmask }) => cidrOf(gateway, prefixOfNetmask(netmask)))],
    proxyUrl: proxyUrl === '' ? null : proxyUrl,
    downloadsMax: settings.get(secondaryStorageSessionsMax, { zone: zoneId }),
    removedHostIds: await removedHostIds(db),
  };
}
