/** The machinery's own tables. */
import type { PeerKind } from '../../protocol/kinds.ts';
import type { Id } from '../../protocol/schema.ts';
import type { AgentState } from '../../protocol/states/host.ts';
import type { JobState } from '../../protocol/states/job.ts';
import { column, table } from './db.ts';

export interface JobRow {
  id: Id<'job'>;
  saga: string;
  sagaVersion: number;
  /** API command that started it; null for the cloud's own work. */
  command: string | null;
  input: unknown;
  state: JobState;
  /** Raised whenever a worker takes the job; an earlier worker can commit nothing more. */
  epoch: number;
  /** Path of the step that committed last, for people. */
  step: string | null;
  userId: Id<'user'> | null;
  accountId: Id<'account'> | null;
  domainId: Id<'domain'> | null;
  requestId: string;
  instanceType: string | null;
  instanceId: string | null;
  eventType: string | null;
  eventText: string | null;
  startEventId: string | null;
  /** What the view showed when the job ended well: the jobresult of the API. */
  result: unknown;
  error: { code: string; message: string } | null;
  workerId: string | null;
  leaseUntil: Date | null;
  /** Not before then: unwinding that failed waits between tries. */
  retryAt: Date | null;
  attempts: number;
  createdAt: Date;
  startedAt: Date | null;
  completedAt: Date | null;
}
export const jobs = table<JobRow>(
  'job',
  {
    id: column.key(),
    saga: column.word(),
    sagaVersion: column.int(),
    command: column.nullable(column.word()),
    input: column.json(),
    state: column.word(16),
    epoch: column.int(),
    step: column.nullable(column.string()),
    userId: column.nullable(column.id()),
    accountId: column.nullable(column.id()),
    domainId: column.nullable(column.id()),
    requestId: column.word(),
    instanceType: column.nullable(column.word()),
    instanceId: column.nullable(column.id()),
    eventType: column.nullable(column.word()),
    eventText: column.nullable(column.string(1024)),
    startEventId: column.nullable(column.id()),
    result: column.nullable(column.json()),
    error: column.nullable(column.json()),
    workerId: column.nullable(column.word()),
    leaseUntil: column.nullable(column.time()),
    retryAt: column.nullable(column.time()),
    attempts: column.int(),
    createdAt: column.time(),
    startedAt: column.nullable(column.time()),
    completedAt: column.nullable(column.time()),
  },
  { indices: [['state', 'leaseUntil'], ['accountId', 'createdAt'], ['instanceId', 'state'], ['createdAt']] },
);

export interface JournalRow {
  jobId: Id<'job'>;
  /** Path of the step, or the step followed by ` undone`, ` failed`. */
  step: string;
  value: unknown;
  at: Date;
}
export const journal = table<JournalRow>('journal', {
  jobId: column.key(),
  step: column.primary(column.word(255)),
  value: column.nullable(column.json()),
  at: column.time(),
});

/** An undo that could not reach its machine; it is asked when the machine is back. */
export interface OwedAskRow {
  id: Id<'owedAsk'>;
  jobId: Id<'job'>;
  agentKind: PeerKind;
  agentId: string;
  message: string;
  ask: unknown;
  createdAt: Date;
}
export const owedAsks = table<OwedAskRow>(
  'owed_ask',
  {
    id: column.key(),
    jobId: column.id(),
    agentKind: column.word(32),
    agentId: column.id(),
    message: column.word(),
    ask: column.json(),
    createdAt: column.time(),
  },
  { indices: [['agentId']] },
);

export const eventLevels = ['INFO', 'WARN', 'ERROR'] as const;
export type EventLevel = (typeof eventLevels)[number];
export const eventStates = ['Created', 'Scheduled', 'Started', 'Completed'] as const;
export interface EventRow {
  id: Id<'event'>;
  type: string;
  level: EventLevel;
  state: (typeof eventStates)[number];
  description: string;
  userId: Id<'user'> | null;
  accountId: Id<'account'>;
  domainId: Id<'domain'>;
  resourceType: string | null;
  resourceId: string | null;
  startEventId: Id<'event'> | null;
  archived: boolean;
  createdAt: Date;
}
export const events = table<EventRow>(
  'event',
  {
    id: column.key(),
    type: column.word(),
    level: column.word(16),
    state: column.word(16),
    description: column.string(1024),
    userId: column.nullable(column.id()),
    accountId: column.id(),
    domainId: column.id(),
    resourceType: column.nullable(column.word()),
    resourceId: column.nullable(column.id()),
    startEventId: column.nullable(column.id()),
    archived: column.boolean(),
    createdAt: column.time(),
  },
  { indices: [['accountId', 'createdAt'], ['resourceId', 'createdAt'], ['createdAt']] },
);

export interface AlertRow {
  id: Id<'alert'>;
  /** Number of the alert type, as CloudStack counts them. */
  type: number;
  name: string;
  description: string;
  zoneId: Id<'zone'> | null;
  podId: Id<'pod'> | null;
  clusterId: Id<'cluster'> | null;
  resourceId: string | null;
  /** How often it was raised since `createdAt` without being resolved. */
  count: number;
  createdAt: Date;
  lastSentAt: Date;
  resolvedAt: Date | null;
  archived: boolean;
}
export const alerts = table<AlertRow>(
  'alert',
  {
    id: column.key(),
    type: column.int(),
    name: column.word(),
    description: column.string(1024),
    zoneId: column.nullable(column.id()),
    podId: column.nullable(column.id()),
    clusterId: column.nullable(column.id()),
    resourceId: column.nullable(column.id()),
    count: column.int(),
    createdAt: column.time(),
    lastSentAt: column.time(),
    resolvedAt: column.nullable(column.time()),
    archived: column.boolean(),
  },
  { indices: [['type', 'resourceId'], ['createdAt']] },
);

export const settingScopes = ['global', 'zone', 'cluster', 'storagepool', 'account', 'domain', 'imagestore'] as const;
export type SettingScope = (typeof settingScopes)[number];
export interface SettingRow {
  name: string;
  scope: SettingScope;
  /** Id of the zone, cluster, …; empty for global. */
  scopeId: string;
  value: string;
  updatedAt: Date;
}
export const settingRows = table<SettingRow>('setting', {
  name: column.primary(column.word(128)),
  scope: column.primary(column.word(16)),
  scopeId: column.primary({ ...column.word(36) }),
  value: column.text(),
  updatedAt: column.time(),
});

export interface SessionRow {
  /** SHA-256 of the JSESSIONID cookie. */
  id: string;
  userId: Id<'user'>;
  /** SHA-256 of the session key. */
  sessionKeySha256: string;
  createdAt: Date;
  lastSeenAt: Date;
}
export const sessions = table<SessionRow>(
  'session',
  {
    id: { ...column.word(64), primary: true },
    userId: column.id(),
    sessionKeySha256: column.word(64),
    createdAt: column.time(),
    lastSeenAt: column.time(),
  },
  { indices: [['userId'], ['lastSeenAt']] },
);

/** The link to a host or system VM: one row per certificate holder. */
export interface AgentRow {
  /** Id of the host or of the system VM. */
  id: string;
  kind: PeerKind;
  zoneId: Id<'zone'> | null;
  state: AgentState;
  generation: number;
  version: string | null;
  /** Management server that holds the link. */
  serverId: string | null;
  certificateSerial: string | null;
  certificateExpiresAt: Date | null;
  lastBeatAt: Date | null;
  stateSince: Date;
  /** Sessions, commands or whatever its kind counts; drives scaling. */
  load: number;
  /** Where other agents reach it: management or storage address. */
  address: string | null;
}
export const agents = table<AgentRow>(
  'agent',
  {
    id: column.key(),
    kind: column.word(32),
    zoneId: column.nullable(column.id()),
    state: column.word(16),
    generation: column.int(),
    version: column.nullable(column.string(80)),
    serverId: column.nullable(column.id()),
    certificateSerial: column.nullable(column.word()),
    certificateExpiresAt: column.nullable(column.time()),
    lastBeatAt: column.nullable(column.time()),
    stateSince: column.time(),
    load: column.int(),
    address: column.nullable(column.word()),
  },
  { indices: [['kind', 'zoneId', 'state'], ['serverId']] },
);

export interface JoinTokenRow {
  /** SHA-256 of the token. */
  sha256: string;
  kind: PeerKind;
  agentId: string;
  expiresAt: Date;
  usedAt: Date | null;
  /** Of the key it was used with: the answer to the first use may have been lost. */
  publicKeySha256: string | null;
}
export const joinTokens = table<JoinTokenRow>(
  'join_token',
  {
    sha256: { ...column.word(64), primary: true },
    kind: column.word(32),
    agentId: column.id(),
    expiresAt: column.time(),
    usedAt: column.nullable(column.time()),
    publicKeySha256: column.nullable(column.word(64)),
  },
  { indices: [['agentId'], ['expiresAt']] },
);

export interface RevokedCertificateRow {
  serial: string;
  revokedAt: Date;
}
export const revokedCertificates = table<RevokedCertificateRow>('revoked_certificate', {
  serial: { ...column.word(64), primary: true },
  revokedAt: column.time(),
});

/** Named values the cloud makes once for itself: the CA, the ssh key pair; sealed where secret. */
export interface KeptRow {
  name: string;
  value: string;
}
export const kept = table<KeptRow>('kept', { name: { ...column.word(), primary: true }, value: column.text() });

export interface LeaseRow {
  /** Name of the task. */
  name: string;
  owner: string;
  until: Date;
}
export const leases = table<LeaseRow>('lease', {
  name: { ...column.word(128), primary: true },
  owner: column.word(),
  until: column.time(),
});

/** Counters that hand out numbers, such as the running number in an instance name. */
export interface CounterRow {
  name: string;
  value: number;
}
export const counters = table<CounterRow>('counter', { name: { ...column.word(128), primary: true }, value: column.bigint() });

export interface ManagementServerRow {
  id: Id<'managementServer'>;
  name: string;
  address: string;
  version: string;
  startedAt: Date;
  lastSeenAt: Date;
}
export const managementServers = table<ManagementServerRow>('management_server', {
  id: column.key(),
  name: column.string(),
  address: column.word(),
  version: column.word(),
  startedAt: column.time(),
  lastSeenAt: column.time(),
});

export const coreTables = [
  jobs,
  journal,
  owedAsks,
  events,
  alerts,
  settingRows,
  sessions,
  agents,
  joinTokens,
  revokedCertificates,
  kept,
  leases,
  counters,
  managementServers,
];
