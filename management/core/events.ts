/** Lines in a user's history (events) and for the operator (alerts). */
import { IsNull } from 'typeorm';
import { newId } from '../../protocol/ids.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Caller } from './context.ts';
import type { Tx } from './db.ts';
import { alerts, type EventLevel, type EventRow, events } from './tables.ts';

type EventOwner = Pick<EventRow, 'accountId' | 'domainId' | 'userId'>;

/** Writes one event in the caller's transaction and returns its id. The owner is the caller unless given. */
export async function writeEvent(
  tx: Tx,
  {
    type,
    level = 'INFO',
    state = 'Completed',
    description,
    resource,
    startEventId = null,
    ...who
  }: {
    type: string;
    level?: EventLevel;
    state?: EventRow['state'];
    description: string;
    resource?: { readonly type: string; readonly id: string };
    startEventId?: string | null;
  } & ({ caller: Caller; owner?: EventOwner } | { owner: EventOwner }),
): Promise<Id<'event'>> {
  const id = newId('event');
  const owner = who.owner ?? ('caller' in who ? who.caller : null);
  await tx.insert(events, {
    id,
    type,
    level,
    state,
    description: description.slice(0, 1024),
    userId: owner?.userId ?? null,
    accountId: owner?.accountId as Id<'account'>,
    domainId: owner?.domainId as Id<'domain'>,
    resourceType: resource?.type ?? null,
    resourceId: resource?.id ?? null,
    startEventId: startEventId as Id<'event'> | null,
    archived: false,
    createdAt: new Date(),
  });
  return id;
}

/** Alert types with CloudStack's numbers (its AlertService). */
export const alertTypes = {
  memory: [0, 'ALERT.MEMORY'],
  cpu: [1, 'ALERT.CPU'],
  storage: [2, 'ALERT.STORAGE'],
  publicIp: [4, 'ALERT.NETWORK.PUBLICIP'],
  host: [7, 'ALERT.COMPUTE.HOST'],
  userVm: [8, 'ALERT.USERVM'],
  domainRouter: [9, 'ALERT.SERVICE.DOMAINROUTER'],
  consoleProxy: [10, 'ALERT.SERVICE.CONSOLEPROXY'],
  managementServer: [12, 'ALERT.MANAGEMENT'],
  storageMisc: [16, 'ALERT.STORAGE.MISC'],
  secondaryStorageVm: [18, 'ALERT.SERVICE.SSVM'],
  certificate: [31, 'ALERT.CA.CERT'],
  uploadFailed: [28, 'ALERT.UPLOAD.FAILED'],
} as const;
export type AlertType = keyof typeof alertTypes;

/** Raises an alert, or counts it again when the same one about the same thing is still open. */
export async function raiseAlert(
  tx: Tx,
  type: AlertType,
  description: string,
  about: { zoneId?: Id<'zone'> | null; podId?: Id<'pod'> | null; clusterId?: Id<'cluster'> | null; resourceId?: string | null } = {},
): Promise<void> {
  const [number, name] = alertTypes[type];
  const now = new Date();
  const resourceId = about.resourceId ?? null;
  const open = await tx.findOne(alerts, {
    where: { type: number, resourceId: resourceId ?? IsNull(), resolvedAt: IsNull(), archived: false },
    lock: { mode: 'pessimistic_write' },
  });
  if (open) {
    await tx.update(alerts, { id: open.id }, { count: open.count + 1, lastSentAt: now, description: description.slice(0, 1024) });
    return;
  }
  await tx.insert(alerts, {
    id: newId('alert'),
    type: number,
    name,
    description: description.slice(0, 1024),
    zoneId: about.zoneId ?? null,
    podId: about.podId ?? null,
    clusterId: about.clusterId ?? null,
    resourceId,
    count: 1,
    createdAt: now,
    lastSentAt: now,
    resolvedAt: null,
    archived: false,
  });
}

/** Ends the open alert of this type about this thing, when its cause has gone. */
export async function resolveAlert(tx: Tx, type: AlertType, resourceId: string): Promise<void> {
  await tx.update(alerts, { type: alertTypes[type][0], resourceId, resolvedAt: IsNull() }, { resolvedAt: new Date() });
}
