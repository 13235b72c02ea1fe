import type { Id } from '../../../protocol/schema.ts';
import { userKind } from '../../account/index.ts';
import { command, reply } from '../../core/command.ts';
import { domainKind, list, pageParams, where } from '../../core/list.ts';
import { shownPath } from '../../core/owners.ts';
import { entityKind, p } from '../../core/params.ts';
import { f, view } from '../../core/view.ts';
import { hostKind } from '../../infra/index.ts';
import { type ConsoleSessionRow, consoleSessions } from '../entities.ts';
import { vmKind } from '../views.ts';

interface SessionShown {
  readonly id: string;
  readonly createdAt: Date;
  readonly acquiredAt: Date | null;
  readonly endedAt: Date | null;
  readonly clientAddress: string | null;
  readonly accountId: string;
  readonly accountName: string;
  readonly domainId: string;
  readonly domainName: string;
  readonly domainPath: string;
  readonly userId: string;
  readonly userName: string | null;
  readonly hostId: string;
  readonly hostName: string | null;
  readonly machineId: string;
  readonly vmName: string | null;
}
const sessionView = view<SessionShown>('ConsoleSessionResponse', 'consolesession', {
  id: f.string('the id of the session', (row) => row.id),
  created: f.date('when the URL was made', (row) => row.createdAt),
  acquired: f.date('when it was opened', (row) => row.acquiredAt),
  removed: f.date('when it ended', (row) => row.endedAt),
  clientaddress: f.string('the address of the browser', (row) => row.clientAddress),
  accountid: f.string('the owner of the virtual machine', (row) => row.accountId),
  account: f.string('the name of the owner', (row) => row.accountName),
  domainid: f.string('the domain of the owner', (row) => row.domainId),
  domain: f.string('the name of the domain', (row) => row.domainName),
  domainpath: f.string('the path of the domain', (row) => shownPath(row.domainPath)),
  userid: f.string('the user who asked for it', (row) => row.userId),
  user: f.string('the name of that user', (row) => row.userName),
  hostid: f.string('the host', (row) => row.hostId, { adminOnly: true }),
  hostname: f.string('the name of the host', (row) => row.hostName, { adminOnly: true }),
  virtualmachineid: f.string('the virtual machine', (row) => row.machineId),
  virtualmachinename: f.string('the name of the virtual machine', (row) => row.vmName),
});
const sessionKind = entityKind<ConsoleSessionRow>({
  noun: 'console session',
  find: (tx, id) => tx.findOneBy(consoleSessions, { id: id as Id<'consoleSession'> }),
  removed: () => false,
  owner: (row) => row,
});

export const listConsoleSessions = command({
  name: 'listConsoleSessions',
  about: 'Lists console sessions.',
  access: 'user',
  params: {
    ...pageParams,
    id: p.entity('the session of this id', sessionKind, 'list'),
    virtualmachineid: p.entity('sessions of this virtual machine', vmKind, 'list'),
    userid: p.entity('sessions of this user', userKind, 'list'),
    hostid: p.entity('sessions of machines on this host', hostKind, 'list', { adminOnly: true }),
    domainid: p.entity('sessions of this domain', domainKind, 'list'),
    isrecursive: p.boolean('also of the domains below domainid'),
    clientaddress: p.string('sessions from this address'),
    activeonly: p.boolean('only those that have not ended'),
    acquired: p.boolean('only those that were opened, or were not'),
    startdate: p.date('made at this time or later'),
    enddate: p.date('made at this time or earlier', { endOfDay: true }),
  },
  reply: reply.list(sessionView),
  run: (context, params) =>
    list(context, params, {
      from: 'console_session t',
      where: [
        where.equal('t.id', params.id?.id),
        where.equal('t.machine_id', params.virtualmachineid?.id),
        where.equal('t.user_id', params.userid?.id),
        where.equal('t.host_id', params.hostid?.id),
        where.equal('t.client_address', params.clientaddress),
        params.activeonly ? where.sql("(t.state = 'Connected' OR (t.state = 'Waiting' AND t.expires_at > ?))", new Date()) : null,
        params.acquired === undefined ? null : where.sql(`t.acquired_at IS ${params.acquired ? 'NOT ' : ''}NULL`),
        params.startdate ? where.sql('t.created_at >= ?', params.startdate) : null,
        params.enddate ? where.sql('t.created_at <= ?', params.enddate) : null,
      ],
      keyword: ['t.client_address'],
      scope: { domainid: params.domainid, isrecursive: params.isrecursive, listall: true, byId: params.id !== undefined },
      load: (ids) =>
        context.db.rows<SessionShown>(
          `SELECT t.id AS id, t.created_at AS createdAt, t.acquired_at AS acquiredAt, t.ended_at AS endedAt, t.client_address AS clientAddress, t.account_id AS accountId, a.name AS accountName,
                  d.id AS domainId, d.name AS domainName, d.path AS domainPath, t.user_id AS userId, u.name AS userName, t.host_id AS hostId, h.name AS hostName, t.machine_id AS machineId,
                  v.display_name AS vmName
             FROM console_session t JOIN account a ON a.id = t.account_id JOIN domain d ON d.id = t.domain_id LEFT JOIN user u ON u.id = t.user_id LEFT JOIN host h ON h.id = t.host_id
             LEFT JOIN vm v ON v.id = t.machine_id WHERE t.id IN (?)`,
          [ids],
        ),
    }),
});
