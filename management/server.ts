/** The only wiring: configuration -> database -> registry -> HTTP, workers, agents, reconcilers. */
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import type { MigrationInterface } from 'typeorm';
import { CloudError } from '../protocol/errors.ts';
import { newId } from '../protocol/ids.ts';
import type { Log } from '../protocol/log.ts';
import type { Id } from '../protocol/schema.ts';
import { callers } from './account/index.ts';
import { allAreas } from './areas.ts';
import type { Config } from './config.ts';
import { openAgentRecords } from './core/agent-records.ts';
import { type AgentHub, openAgentHub } from './core/agents.ts';
import { type Area, asTables, type Peer } from './core/area.ts';
import { sessionTimeoutMinutes } from './core/auth/session.ts';
import { openCertificates } from './core/certificates.ts';
import { type Registry, registry } from './core/command.ts';
import { openDatabase, type Table } from './core/db.ts';
import { closeHttpServer, createHttpServer } from './core/http.ts';
import { openJobs } from './core/jobs.ts';
import { authorityStore } from './core/kept.ts';
import { defaultPageSize } from './core/list.ts';
import { openMetrics } from './core/metrics.ts';
import { ownerTables } from './core/owners.ts';
import { type Reconciliation, startReconcilers } from './core/reconcile.ts';
import { isAlarming, raiseRefusal } from './core/refusals.ts';
import type { AgentAddress, Probe } from './core/saga.ts';
import { openSecrets } from './core/secrets.ts';
import type { Services } from './core/services.ts';
import { openSettings } from './core/settings.ts';
import { agents as agentTable, coreTables, managementServers } from './core/tables.ts';
import { hostInstallerOf } from './host-installer.ts';
import { pingInterval, setHostInstaller } from './infra/index.ts';
import { migrations } from './migrations/index.ts';
import { consoleMount, systemFile } from './systemvm/index.ts';

export const VERSION = '0.1.0';

export interface ManagementOptions {
  readonly config: Config;
  readonly log: Log;
  /** Called around every saga step; for tests that crash there. */
  readonly probe?: Probe;
  readonly beatMs?: number;
  /** False: do not run migrations at start; another process has. */
  readonly migrate?: boolean;
}
export interface Management {
  readonly services: Services;
  readonly registry: Registry;
  readonly hub: AgentHub;
  readonly reconciliation: Reconciliation;
  readonly httpPort: number;
  readonly linkPort: number;
  close: () => Promise<void>;
}

export const everyTable = (areas: readonly Area[]): readonly Table<never>[] => [
  ...asTables(...coreTables, ...ownerTables),
  ...areas.flatMap(({ tables }) => tables),
];

export async function startManagement(options: ManagementOptions): Promise<Management> {
  const { config, log } = options;
  const areas = allAreas(() => commands);
  const db = await openDatabase(config.database, everyTable(areas), migrations as (new () => MigrationInterface)[], log);
  if (options.migrate !== false) await db.source.runMigrations({ transaction: 'each' });
  const secrets = await openSecrets(config.varDirectory);
  const certificates = await openCertificates({ store: authorityStore(db), secrets });
  let reconciliation: Reconciliation | null = null;
  const settings = await openSettings(db, [defaultPageSize, sessionTimeoutMinutes, ...areas.flatMap((area) => area.settings)], log, () =>
    reconciliation?.wake('setting'),
  );
  const serverId = await serverIdentity(db, config);
  const commands: Registry = registry(areas.flatMap((area) => area.commands));
  const metrics = openMetrics();
  const jobs = openJobs({
    config,
    db,
    log,
    sagas: areas.flatMap(({ sagas }) => sagas),
    serverId,
    ...(options.probe ? { probe: options.probe } : {}),
  });

  let hub: AgentHub | null = null;
  const theHub = (): AgentHub => {
    if (!hub) throw new CloudError('Unavailable', 'the server is starting');
    return hub;
  };
  const resolve = async (to: AgentAddress): Promise<Peer> => {
    if ('id' in to) return to;
    const up = await db.read.find(agentTable, { where: { kind: to.any, zoneId: to.zoneId, state: 'Up' } });
    return theHub().any({ kind: to.any, ids: up.map(({ id }) => id) });
  };
  /** «Any» waits for one to come up, as an ask of one agent waits for its link. */
  const resolveSoon = async (to: AgentAddress, graceSeconds: number): Promise<Peer> => {
    for (const until = Date.now() + graceSeconds * 1000; ; ) {
      try {
        return await resolve(to);
      } catch (error) {
        if (!(error instanceof CloudError) || error.code !== 'Unreachable' || Date.now() > until) throw error;
        await new Promise((done) => setTimeout(done, 500));
      }
    }
  };
  const services: Services = {
    config,
    serverId,
    db,
    settings,
    secrets,
    certificates,
    agents: {
      ask: async (to, call, asked) => theHub().ask(await resolveSoon(to, asked.linkGraceSeconds ?? 10), call, asked),
      isUp: async (id) => theHub().isUp(id),
      drop: (id, reason) => hub?.drop(id, reason),
    },
    jobs,
    log,
    wake: (subject) => reconciliation?.wake(subject),
  };
  setHostInstaller(hostInstallerOf(config));
  for (const area of areas) await area.seed?.(services);

  const records = await openAgentRecords(db, () => reconciliation?.wake('agent'));
  const run = (what: string, work: Promise<void> | undefined) =>
    work?.catch((error: unknown) => log.warn({ err: error }, `${what} failed`));
  hub = await openAgentHub({
    serverId,
    port: config.link.port,
    ...(config.link.addresses[0] ? { host: config.link.addresses[0] } : {}),
    names: [...new Set(config.advertise.map((each) => each.replace(/:\d+$/, '')))],
    certificates,
    records,
    file: (name) => systemFile(config, name),
    log: log.child({ part: 'hub' }),
    beatMs: options.beatMs ?? settings.get(pingInterval) * 1000,
    prepare: async (peer, ask) => {
      // While it is being prepared the agent can be asked by this road only.
      const own: Services = {
        ...services,
        agents: {
          ...services.agents,
          ask: (to, call, asked) => ('id' in to && to.id === peer.id ? ask(call, asked) : services.agents.ask(to, call, asked)),
        },
      };
      for (const { agentHooks } of areas) await agentHooks?.prepare?.(own, peer);
    },
    onRefused: (refusal) => {
      if (!isAlarming(refusal)) return;
      run(
        'alert',
        db.transact((tx) => raiseRefusal(tx, refusal)),
      );
    },
    onAskDone: ({ name, outcome, seconds }) => metrics.askDone(name, outcome, seconds),
  });
  const beats = beatWriter(services);
  hub.onBeat((peer, beat) => {
    beats.heard(peer.id);
    for (const { agentHooks } of areas) run('beat', agentHooks?.beat?.(services, peer, beat));
  });
  hub.onBell((peer, subject) => {
    reconciliation?.wake(subject);
    for (const { agentHooks } of areas) run('bell', agentHooks?.bell?.(services, peer, subject));
  });
  hub.onUp((peer) => {
    reconciliation?.wake('agent');
    for (const { agentHooks } of areas) run('up', agentHooks?.up?.(services, peer));
  });
  hub.onDown((peer, how) => {
    reconciliation?.wake('agent');
    for (const { agentHooks } of areas) run('down', agentHooks?.down?.(services, peer, how === 'disconnected'));
  });

  const health = async () => {
    const database = await db
      .rows('SELECT 1')
      .then(() => true)
      .catch(() => false);
    return { database };
  };
  const server = createHttpServer({
    services,
    registry: commands,
    callers: callers(services),
    metrics,
    mounts: [consoleMount(services)],
    health,
  });
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen(config.http.port, config.http.address, () => done());
  });
  jobs.listen(services);
  reconciliation = startReconcilers(
    areas.flatMap(({ reconcilers }) => reconcilers),
    () => services,
    serverId,
    log,
  );
  metrics.gauge('agents_connected', 'Agents linked to this server', () => theHub().counts.connected);
  metrics.gauge('asks_in_flight', 'Asks that agents have not answered yet', () => theHub().counts.asksInFlight);
  metrics.counter('link_refused_total', 'Connections to the agents port that were refused', 'reason', () => theHub().counts.refused);
  metrics.gauge('jobs_running', 'Jobs that this server runs now', () => jobs.running());

  const httpPort = (server.address() as AddressInfo).port;
  log.info({ httpPort, linkPort: hub.port, serverId }, 'management server is up');
  const opened = { hub, reconciliation };
  return {
    services,
    registry: commands,
    hub,
    reconciliation,
    httpPort,
    linkPort: hub.port,
    close: async () => {
      await closeHttpServer(server);
      await opened.reconciliation.close();
      await jobs.close();
      await opened.hub.close();
      records.close();
      beats.close();
      settings.close();
      await db.close();
    },
  };
}

/** One row per server, found again by host name and port, so that a restarted server is the one its agents knew. */
async function serverIdentity(db: Services['db'], config: Config): Promise<Id<'managementServer'>> {
  const name = `${hostname()}:${config.link.port}`;
  const now = new Date();
  const known = await db.read.findOneBy(managementServers, { name });
  const id = known?.id ?? newId('managementServer');
  const address = config.advertise[0] ?? config.http.address;
  await db.transact((tx) => tx.upsert(managementServers, { id, name, address, version: VERSION, startedAt: now, lastSeenAt: now }, ['id']));
  return id;
}

/** When each agent was heard last, written in one statement every few seconds, and that this server is there. */
function beatWriter({ db, log, serverId }: Services): { heard: (id: string) => void; close: () => void } {
  let heard = new Set<string>();
  const timer = setInterval(() => {
    db.rows('UPDATE management_server SET last_seen_at = ? WHERE id = ?', [new Date(), serverId]).catch((error: unknown) =>
      log.debug({ err: error }, 'the record of this server was not written'),
    );
    if (heard.size === 0) return;
    const ids = [...heard];
    heard = new Set();
    db.rows('UPDATE agent SET last_beat_at = ? WHERE id IN (?)', [new Date(), ids]).catch((error: unknown) =>
      log.debug({ err: error }, 'beats were not written'),
    );
  }, 10_000);
  timer.unref();
  return { heard: (id) => void heard.add(id), close: () => clearInterval(timer) };
}
