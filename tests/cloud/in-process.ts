/**
 * Management's services without its links: the agents of simulated hosts and system VMs answer in the same process, each behind the real
 * desk for asks. Rows and hosts can be put back to how they were, so that one world serves many cases.
 */
import { createConnection, type RowDataPacket } from 'mysql2/promise';
import { type SimulatedHost, type SimulatedStorage, simulatedHost } from '../../agent/hypervisors/simulated/index.ts';
import type { ServiceConnections } from '../../lab/services.ts';
import { allAreas } from '../../management/areas.ts';
import type { Config } from '../../management/config.ts';
import { sessionTimeoutMinutes } from '../../management/core/auth/session.ts';
import { openCertificates } from '../../management/core/certificates.ts';
import { type Registry, registry } from '../../management/core/command.ts';
import { openDatabase } from '../../management/core/db.ts';
import { openJobs } from '../../management/core/jobs.ts';
import { authorityStore } from '../../management/core/kept.ts';
import { defaultPageSize } from '../../management/core/list.ts';
import type { AnySaga } from '../../management/core/saga.ts';
import { openSecrets } from '../../management/core/secrets.ts';
import type { Services } from '../../management/core/services.ts';
import { openSettings } from '../../management/core/settings.ts';
import { everyTable } from '../../management/server.ts';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import type { PeerKind } from '../../protocol/kinds.ts';
import { type Answering, openAnswering } from '../../protocol/link/answering.ts';
import { AGENT_KINDS, decode, encode, SERVER_KINDS } from '../../protocol/link/frame.ts';
import { createLog } from '../../protocol/log.ts';
import type { Call } from '../../protocol/message.ts';
import type { HostNetworks } from '../../protocol/messages/host.ts';
import type { MachineSpec } from '../../protocol/messages/machine.ts';
import type { RouterConfiguration } from '../../protocol/messages/router.ts';
import { type Id, parse } from '../../protocol/schema.ts';
import type { Cloud } from './cloud.ts';
import { guardConnections } from './one-connection.ts';
import { type Role, simulatedRole } from './simulated-system-vm.ts';

/** What is there before every case. */
interface Still {
  readonly hosts: readonly { id: Id<'host'>; clusterId: string; specs: readonly MachineSpec[]; networks: HostNetworks | null }[];
  readonly storage: ReadonlyMap<string, SimulatedStorage>;
  readonly routers: ReadonlyMap<string, RouterConfiguration>;
}
type Row = Readonly<Record<string, string | number | null>>;
export type Rows = ReadonlyMap<string, ReadonlyMap<string, Row>>;

export interface World {
  readonly services: Services;
  readonly sagas: readonly AnySaga[];
  readonly hosts: ReadonlyMap<string, SimulatedHost>;
  readonly storage: ReadonlyMap<string, SimulatedStorage>;
  /** Rows by table and key as they are now, and what the simulated hosts have. */
  readonly rows: () => Promise<Rows>;
  readonly machines: () => Promise<Record<string, unknown>>;
  /** Whether a row, or an id or MAC, was there from the start. */
  readonly isOld: (table: string, key: string) => boolean;
  readonly isKnown: (word: string) => boolean;
  /** `now`: the rows as they are, for who has just read them. */
  readonly restore: (now?: Rows) => Promise<void>;
  /** Every message arrives twice from now on. */
  twice: boolean;
  /** Called before a message is delivered; may throw, as a link that is cut would. */
  onAsk: (to: string, message: string) => void;
  readonly close: () => Promise<void>;
}

const cloned = (storage: SimulatedStorage): SimulatedStorage =>
  new Map([...storage].map(([id, { images, volumes }]) => [id, { images: new Map(images), volumes: new Map(volumes) }]));

/** Takes over what a cloud has made; the cloud is closed. */
export async function takeOver(cloud: Cloud, connections: ServiceConnections, config: Config): Promise<World> {
  const silent = createLog('world', { level: process.env['NEPHOS_LOG_LEVEL'] ?? 'silent' });
  const hostClusters = await cloud.management.services.db.rows<{ id: string; clusterId: string }>(
    'SELECT id, cluster_id AS clusterId FROM host WHERE removed_at IS NULL',
  );
  const still: Still = {
    hosts: await Promise.all(
      [...cloud.hosts.values()].map(async (host) => ({
        id: host.id,
        clusterId: hostClusters.find(({ id }) => id === host.id)?.clusterId ?? '',
        specs: (await host.machines.list()).flatMap(({ id }) => {
          const spec = host.specOf(id);
          return spec ? [{ ...spec, iso: host.isoOf(id) }] : [];
        }),
        networks: host.networks(),
      })),
    ),
    storage: new Map([...cloud.storage].map(([id, storage]) => [id, cloned(storage)])),
    routers: new Map(
      [...cloud.systemVms.values()].flatMap(({ id, configuration }) => (configuration() ? [[id, configuration()]] : [])),
    ) as Map<string, RouterConfiguration>,
  };
  await cloud.close();

  const areas = allAreas(() => commands);
  const commands: Registry = registry(areas.flatMap((area) => area.commands));
  const db = await openDatabase({ ...connections.database, poolSize: 10 }, everyTable(areas), [], silent);
  guardConnections(db);
  const secrets = await openSecrets(config.varDirectory);
  const settings = await openSettings(db, [defaultPageSize, sessionTimeoutMinutes, ...areas.flatMap((area) => area.settings)], silent);
  const sagas = areas.flatMap((area) => area.sagas);
  const serverId = newId('managementServer');
  const jobs = openJobs({ config, db, log: silent, sagas, serverId });
  const direct = await createConnection({
    socketPath: connections.database.socketPath,
    user: connections.database.user,
    password: connections.database.password,
    database: connections.database.database,
    multipleStatements: true,
    dateStrings: true,
    supportBigNumbers: true,
    bigNumberStrings: true,
    charset: 'utf8mb4',
  });
  const tables = await tablesOf(direct);

  const hosts = new Map<string, SimulatedHost>();
  const storage = new Map<string, SimulatedStorage>();
  const ends = new Map<string, { kind: PeerKind; answering: Answering; role: Role | null }>();
  const switched: [MachineSpec, 'On' | 'Off'][] = [];
  const put = (id: string, kind: PeerKind, handlers: Parameters<typeof openAnswering>[0], role: Role | null) =>
    ends.set(id, { kind, role, answering: openAnswering(handlers, silent) });

  const deliver = async <A>(
    id: string,
    { message, ask }: Call<A>,
    asked: { requestId: string; job?: string; epoch?: number },
  ): Promise<A> => {
    const end = ends.get(id);
    if (!end) throw new CloudError('Unreachable', 'the agent has no link to a management server', { id });
    const fence = asked.job === undefined || asked.epoch === undefined ? {} : { job: asked.job, epoch: asked.epoch };
    const text = encode({
      kind: 'ask',
      id: newId('ask'),
      name: message.name,
      body: ask,
      requestId: asked.requestId,
      timeoutMs: 10_000,
      ...fence,
    });
    const frame = decode(text, SERVER_KINDS);
    if (frame?.kind !== 'ask') throw new TypeError('an ask stays an ask');
    const answered = await new Promise<string>((resolve) => end.answering.take(frame, resolve));
    const reply = decode(answered, AGENT_KINDS);
    if (reply?.kind === 'refusal') throw CloudError.revive(reply.body);
    if (reply?.kind !== 'answer') throw new TypeError('an ask is answered or refused');
    return parse(message.answer, reply.body, message.name);
  };

  /** System VMs join when they are on, and are made ready as by the hub; their links end with their power. */
  const settle = async (): Promise<void> => {
    for (let next = switched.shift(); next; next = switched.shift()) {
      const [spec, power] = next;
      if (spec.kind === 'guest') continue;
      ends.delete(spec.id);
      const state = power === 'On' ? 'Up' : 'Disconnected';
      const done = await direct.query(`UPDATE agent SET state = ?, generation = generation + 1 WHERE id = ? AND state <> 'Removed'`, [
        state,
        spec.id,
      ]);
      if (power === 'Off' || (done[0] as { affectedRows: number }).affectedRows === 0) continue;
      const role = simulatedRole(spec);
      put(spec.id, role.boot.kind, role.handlers, role);
      for (const { agentHooks } of areas) await agentHooks?.prepare?.(services, { kind: role.boot.kind, id: spec.id });
    }
  };

  const world: World = {
    get services() {
      return services;
    },
    sagas,
    hosts,
    storage,
    twice: false,
    onAsk: () => {},
    rows: () => readRows(direct, tables),
    machines: async () => {
      const found: Record<string, unknown> = {};
      // What a host carries besides is kept true by a reconciler, whoever else tells it.
      for (const [id, host] of hosts)
        found[id] = (await host.machines.list()).map((machine) => [machine.id, host.isoOf(machine.id)]).sort();
      for (const [clusterId, pools] of storage)
        for (const [poolId, { images, volumes }] of pools)
          found[`${clusterId} ${poolId}`] = { images: [...images.keys()].sort(), volumes: [...volumes.keys()].sort() };
      for (const [id, { role }] of ends) {
        const configuration = role?.configuration();
        if (role) found[id] = configuration ? { ...configuration, generation: 0 } : 'up';
      }
      return found;
    },
    isOld: (table, key) => first.get(table)?.has(key) ?? false,
    isKnown: (word) => words.has(word),
    restore: async (now) => {
      world.twice = false;
      world.onAsk = () => {};
      await writeRows(direct, tables, now ?? (await readRows(direct, tables)), first);
      for (const { answering } of ends.values()) answering.close();
      ends.clear();
      hosts.clear();
      storage.clear();
      for (const [clusterId, pools] of still.storage) storage.set(clusterId, cloned(pools));
      for (const each of still.hosts) await revive(each);
    },
    close: async () => {
      for (const { answering } of ends.values()) answering.close();
      await jobs.close();
      settings.close();
      await db.close();
      await direct.end();
    },
  };

  const revive = async ({ id, clusterId, specs, networks }: Still['hosts'][number]): Promise<void> => {
    const host = simulatedHost({
      id,
      cpuCount: 16,
      memoryMib: 65_536,
      storage: storage.get(clusterId) ?? new Map(),
      bridges: ['cloudbr0', 'cloudbr1', 'cloudbr2'],
      onPower: (spec, power) => switched.push([spec, power]),
    });
    for (const poolId of storage.get(clusterId)?.keys() ?? [])
      await host.pools.attach({ id: poolId, type: 'NetworkFilesystem', path: '/', server: 'simulated.invalid' });
    if (networks) await host.applyNetworks(networks);
    await host.configure({ controlAddress: '169.254.0.1/16', relayTargets: ['127.0.0.1:8250'], vncListenAddress: '127.0.0.1' });
    for (const spec of specs) {
      if (spec.boot.kind === 'direct')
        await host.ensureBootFiles(
          [spec.boot.kernel, spec.boot.initrd, spec.boot.payload].map((name) => ({
            name,
            url: 'https://simulated.invalid/',
            sha256: '0'.repeat(64),
          })),
          new AbortController().signal,
        );
      await host.machines.start(spec);
      if (spec.kind === 'guest') continue;
      const role = simulatedRole(spec);
      put(spec.id, role.boot.kind, role.handlers, role);
      const configuration = still.routers.get(spec.id);
      const apply = role.handlers.find(({ name }) => name === 'router.apply');
      if (configuration) await apply?.handle(configuration, { requestId: 'restore', signal: new AbortController().signal });
    }
    switched.length = 0;
    hosts.set(id, host);
    put(id, 'host', host.handlers, null);
  };

  const services: Services = {
    config,
    serverId,
    db,
    settings,
    secrets,
    certificates: await openCertificates({ store: authorityStore(db), secrets }),
    agents: {
      ask: async (to, call, asked) => {
        const id = 'id' in to ? to.id : [...ends].find(([, { kind }]) => kind === to.any)?.[0];
        if (id === undefined) throw new CloudError('Unreachable', 'none is up at the moment');
        world.onAsk(id, call.message.name);
        const answer = await deliver(id, call, asked);
        if (world.twice && ends.has(id)) await deliver(id, call, asked);
        await settle();
        return answer;
      },
      isUp: async (id) => ends.has(id),
      drop: (id) => {
        if (ends.get(id)?.kind !== 'host') ends.delete(id);
        // A host comes back by itself.
        else setImmediate(() => void direct.query('UPDATE agent SET generation = generation + 1 WHERE id = ?', [id]));
      },
    },
    jobs,
    log: silent,
    wake: () => {},
  };
  // Closing the cloud has ended all links; in this world they are as they were.
  await direct.query(
    `UPDATE agent a LEFT JOIN machine m ON m.id = a.id SET a.state = 'Up' WHERE a.state <> 'Removed' AND (m.id IS NULL OR m.state = 'Running')`,
  );
  for (const table of ['job', 'journal', 'event', 'alert', 'lease', 'join_token', 'session'])
    await direct.query(`DELETE FROM \`${table}\``);
  const first = await readRows(direct, tables);
  const words = new Set([...first.values()].flatMap((rows) => [...rows.values()].flatMap((row) => Object.values(row).map(String))));
  await world.restore();
  return world;
}

type Tables = readonly { readonly name: string; readonly keys: readonly string[] }[];
type Direct = Awaited<ReturnType<typeof createConnection>>;

async function tablesOf(direct: Direct): Promise<Tables> {
  const [rows] = await direct.query<(RowDataPacket & { name: string; key: string })[]>(
    `SELECT table_name AS name, column_name AS \`key\` FROM information_schema.key_column_usage
      WHERE table_schema = DATABASE() AND constraint_name = 'PRIMARY' ORDER BY table_name, ordinal_position`,
  );
  const names = [...new Set(rows.map(({ name }) => name))].filter((name) => name !== 'migration');
  return names.map((name) => ({ name, keys: rows.filter((row) => row.name === name).map(({ key }) => key) }));
}

async function readRows(direct: Direct, tables: Tables): Promise<Rows> {
  const [results] = await direct.query<RowDataPacket[][]>(tables.map(({ name }) => `SELECT * FROM \`${name}\``).join(';'));
  return new Map(
    tables.map(({ name, keys }, index) => [
      name,
      new Map((results[index] ?? []).map((row): [string, Row] => [keys.map((key) => row[key]).join(' '), { ...row }])),
    ]),
  );
}

/** Makes the tables hold `wanted` again, touching only what differs. */
async function writeRows(direct: Direct, tables: Tables, now: Rows, wanted: Rows): Promise<void> {
  const statements: string[] = [];
  const values: unknown[] = [];
  for (const { name, keys } of tables) {
    const [is, should] = [now.get(name) ?? new Map<string, Row>(), wanted.get(name) ?? new Map<string, Row>()];
    for (const [key, row] of is) {
      if (should.has(key)) continue;
      statements.push(`DELETE FROM \`${name}\` WHERE ${keys.map((each) => `\`${each}\` = ?`).join(' AND ')}`);
      values.push(...keys.map((each) => row[each]));
    }
    for (const [key, row] of should) {
      if (JSON.stringify(is.get(key)) === JSON.stringify(row)) continue;
      statements.push(
        `REPLACE INTO \`${name}\` SET ${Object.keys(row)
          .map((each) => `\`${each}\` = ?`)
          .join(', ')}`,
      );
      values.push(...Object.values(row));
    }
  }
  if (statements.length > 0) await direct.query(statements.join(';'), values);
}
