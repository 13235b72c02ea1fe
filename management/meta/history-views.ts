import { In } from 'typeorm';
import type { Id } from '../../protocol/schema.ts';
import type { Database } from '../core/db.ts';
import { shownPath } from '../core/owners.ts';
import { entityKind } from '../core/params.ts';
import { type AlertRow, alerts, type EventRow, events } from '../core/tables.ts';
import { f, view } from '../core/view.ts';

type Reader = Pick<Database, 'rows' | 'read'>;

export const eventKind = entityKind<EventRow>({
  noun: 'event',
  find: (tx, id) => tx.findOneBy(events, { id: id as Id<'event'> }),
  removed: () => false,
  owner: (row) => row,
});
export type EventShown = EventRow & {
  readonly accountName: string | null;
  readonly userName: string | null;
  readonly domainName: string | null;
  readonly domainPath: string | null;
};
export async function loadEvents({ rows, read }: Reader, ids: readonly string[]): Promise<EventShown[]> {
  if (ids.length === 0) return [];
  const found = await read.findBy(events, { id: In(ids as Id<'event'>[]) });
  const about = await rows<Pick<EventShown, 'id' | 'accountName' | 'userName' | 'domainName' | 'domainPath'>>(
    `SELECT e.id, a.name AS accountName, u.name AS userName, d.name AS domainName, d.path AS domainPath FROM event e
       LEFT JOIN account a ON a.id = e.account_id LEFT JOIN domain d ON d.id = e.domain_id LEFT JOIN \`user\` u ON u.id = e.user_id WHERE e.id IN (?)`,
    [ids],
  );
  const byId = new Map(about.map((row) => [row.id, row]));
  return found.map((row) => ({ accountName: null, userName: null, domainName: null, domainPath: null, ...byId.get(row.id), ...row }));
}
export const eventView = view<EventShown>('EventResponse', 'event', {
  id: f.string('the id of the event', (row) => row.id),
  type: f.string('the type of the event', (row) => row.type),
  level: f.string('INFO, WARN or ERROR', (row) => row.level),
  state: f.string('Created, Scheduled, Started or Completed', (row) => row.state),
  description: f.string('what happened', (row) => row.description),
  username: f.string('who did it', (row) => row.userName ?? 'system'),
  account: f.string('the account it belongs to', (row) => row.accountName),
  domainid: f.string('the id of the domain', (row) => row.domainId),
  domain: f.string('the name of the domain', (row) => row.domainName),
  domainpath: f.string('the path of the domain', (row) => (row.domainPath === null ? null : shownPath(row.domainPath))),
  resourcetype: f.string('the kind of thing it is about', (row) => row.resourceType),
  resourceid: f.string('the thing it is about', (row) => row.resourceId),
  parentid: f.string('the event that began it', (row) => row.startEventId),
  archived: f.boolean('true if it was put away', (row) => row.archived),
  created: f.date('when it happened', (row) => row.createdAt),
});

export const alertKind = entityKind<AlertRow>({
  noun: 'alert',
  find: (tx, id) => tx.findOneBy(alerts, { id: id as Id<'alert'> }),
  removed: () => false,
  owner: () => null,
});
export const loadAlerts = ({ read }: Reader, ids: readonly string[]): Promise<AlertRow[]> =>
  read.findBy(alerts, { id: In(ids as Id<'alert'>[]) });
export const alertView = view<AlertRow>('AlertResponse', 'alert', {
  id: f.string('the id of the alert', (row) => row.id),
  type: f.short('the number of the type', (row) => row.type),
  name: f.string('the name of the type', (row) => row.name),
  description: f.string('what is wrong', (row) => row.description),
  sent: f.date('when it was raised last', (row) => row.lastSentAt),
});
