/**
 * Adding a host. What it needs is put there first; then its rows are written, with the resource state Creating; then the agent is
 * installed; then it must come Up. A host that is Creating takes no machines. Whatever fails takes all of it back. When the server dies
 * in between, the row says what was going on, and the reconciler of hosts ends it: with an agent that came Up the host is there, and one
 * that never came is taken back when its token has run out.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { numberToIp4 } from '../../protocol/ip4.ts';
import { type Id, Secret } from '../../protocol/schema.ts';
import { newAgent, newJoinToken, removeAgent } from '../core/agent-records.ts';
import { lock, type Tx } from '../core/db.ts';
import type { Services } from '../core/services.ts';
import { cloudSshKey } from '../core/ssh-key.ts';
import { agents } from '../core/tables.ts';
import { mustBeOutsideRanges } from './addresses.ts';
import { type ClusterRow, clusters, type HostRow, hosts } from './entities.ts';
import { addressOfHost, type HostPlace } from './host-url.ts';
import { type HostJoin, hostInstaller, simulatedHosts } from './installer.ts';
import { readyWait, sshHostKeyCheck } from './settings.ts';
import { type OpenShell, openShell } from './ssh.ts';
import { moveHost } from './states.ts';
import { takeTurn } from './turns.ts';

/** Without packages, which are installed before: copying and starting the agent. */
const INSTALL_SECONDS = 240;
const POLL_MS = 250;

export interface HostRequest {
  readonly cluster: ClusterRow;
  readonly place: HostPlace;
  readonly username: string;
  /** Null: the cloud's own ssh key, whose public half the operator has put there. */
  readonly password: Secret | null;
  readonly tags: readonly string[];
  readonly enable: boolean;
}

export async function addHost(services: Services, request: HostRequest): Promise<Id<'host'>> {
  return request.place.kind === 'simulated'
    ? addSimulated(services, request, request.place.url)
    : addReal(services, request, request.place);
}

async function addReal(services: Services, request: HostRequest, { name, port }: { name: string; port: number }): Promise<Id<'host'>> {
  const { db, settings } = services;
  const { cluster, username, password } = request;
  const installer = hostInstaller();
  const address = await addressOfHost(name);
  await mustBeNew(db.read, cluster, { address, url: null });
  const known = settings.get(sshHostKeyCheck, { zone: cluster.zoneId }) ? await knownHostKey(db.read, address) : null;
  const login = password ? { password } : { privateKey: (await cloudSshKey(services)).privateKey };
  const shell = await openShell({ address, port, username, login, expectedHostKey: known });
  try {
    await installer.prepare(shell);
    const url = `http://${address}${port === 22 ? '' : `:${port}`}`;
    const join = await writeRows(services, request, { address, sshPort: port, sshHostKey: shell.hostKey, url });
    return await complete(services, join.hostId, {
      install: () => within(installer.install(shell, join), INSTALL_SECONDS, `the agent could not be installed on ${address}`, shell),
      uninstall: () => installer.uninstall(shell),
      lateWords: `the agent was installed on ${address} and did not connect; the host must reach ${join.servers.join(' or ')}, and its agent's log says more`,
    });
  } finally {
    shell.close();
  }
}

async function addSimulated(services: Services, request: HostRequest, url: string): Promise<Id<'host'>> {
  const simulator = simulatedHosts();
  if (!simulator) throw new CloudError('ResourceUnavailable', 'this management server has no simulated hosts');
  await mustBeNew(services.db.read, request.cluster, { address: null, url });
  const join = await writeRows(services, request, { address: null, sshPort: 0, sshHostKey: null, url });
  return complete(services, join.hostId, {
    install: () => simulator.add({ ...join, url, clusterId: request.cluster.id }),
    uninstall: () => simulator.remove(join.hostId),
    lateWords: `the simulated host ${url} did not connect`,
  });
}

interface Work {
  readonly install: () => Promise<void>;
  readonly uninstall: () => Promise<void>;
  readonly lateWords: string;
}
/** From rows to a host that is Up; or nothing is left of it. */
async function complete(services: Services, id: Id<'host'>, { install, uninstall, lateWords }: Work): Promise<Id<'host'>> {
  const { db, log, agents: links } = services;
  try {
    await install();
    await mustComeUp(services, id, lateWords);
    await db.transact((tx) => finishHost(tx, id));
    services.wake('host');
    services.wake('agent');
    return id;
  } catch (error) {
    const gone = await db.transact((tx) => discardCreating(tx, id));
    // The reconciler may have seen the agent come Up at the last moment; then the host is there after all.
    if (!gone) return id;
    links.drop(id, 'the host could not be added');
    await uninstall().catch((undo: unknown) =>
      log.warn({ err: undo, host: id }, 'the agent could not be taken off a host that was not added'),
    );
    throw error;
  }
}

async function mustComeUp({ db, settings }: Services, id: Id<'host'>, words: string): Promise<void> {
  const seconds = settings.get(readyWait);
  for (const until = Date.now() + seconds * 1000; ; ) {
    const agent = await db.read.findOneBy(agents, { id });
    if (agent?.state === 'Up') return;
    if (!agent || agent.state === 'Removed') throw new CloudError('Conflict', 'the host was removed while it was being added', { id });
    if (Date.now() > until) throw new CloudError('Unreachable', `${words} (within ${seconds} seconds)`, { id, state: agent?.state });
    await wait(POLL_MS);
  }
}

/** Ends the creation of a host whose agent is Up; does nothing to one that has been ended already. */
export async function finishHost(tx: Tx, id: Id<'host'>): Promise<void> {
  const host = await lock(tx, hosts, { id });
  if (host?.removedAt !== null || host.resourceState !== 'Creating') return;
  const enabled = await moveHost(tx, host, 'enable');
  if (!host.enableWhenReady) await moveHost(tx, enabled, 'disable');
}

/** Takes a host back that is still being added. False: it is there by now. */
export async function discardCreating(tx: Tx, id: Id<'host'>): Promise<boolean> {
  const host = await lock(tx, hosts, { id });
  if (!host || host.removedAt) return true;
  if (host.resourceState !== 'Creating') return false;
  await discardHost(tx, id);
  return true;
}

/** The host is none any more: its certificate and tokens stop working. Its row stays, so that its ssh key is known when it comes back. */
export async function discardHost(tx: Tx, id: Id<'host'>): Promise<void> {
  await tx.update(hosts, { id }, { removedAt: new Date() });
  await removeAgent(tx, id);
}

interface Rows {
  /** Null: one is made up, for a simulated host. */
  readonly address: string | null;
  readonly sshPort: number;
  readonly sshHostKey: string | null;
  readonly url: string;
}
async function writeRows(
  { db, certificates, config }: Services,
  { cluster, tags, enable }: HostRequest,
  rows: Rows,
): Promise<HostJoin & { address: string }> {
  const hostId = newId('host');
  return db.transact(async (tx) => {
    const turn = await takeTurn(tx, 'host');
    const alive = await lock(tx, clusters, { id: cluster.id });
    if (!alive || alive.removedAt) throw new CloudError('NotFound', 'the cluster has been removed meanwhile');
    await mustBeNew(tx, cluster, { address: rows.address, url: rows.address === null ? rows.url : null });
    const address = rows.address ?? simulatedAddress(turn);
    await tx.insert(hosts, {
      id: hostId,
      zoneId: cluster.zoneId,
      podId: cluster.podId,
      clusterId: cluster.id,
      // Its own name is known when its agent has told it.
      name: rows.address ?? rows.url.replace('http://', '').replaceAll('/', '-'),
      hypervisor: cluster.hypervisor,
      address,
      sshPort: rows.sshPort,
      sshHostKey: rows.sshHostKey,
      url: rows.url,
      resourceState: 'Creating',
      enableWhenReady: enable,
      generation: 0,
      description: null,
      cpuCount: 0,
      cpuMhz: 0,
      memoryMib: 0,
      cpuMhzReserved: 0,
      memoryMibReserved: 0,
      networksGeneration: 0,
      tags: tags.length > 0 ? tags.join(',') : null,
      details: {},
      createdAt: new Date(),
      removedAt: null,
    });
    await newAgent(tx, { kind: 'host', id: hostId, zoneId: cluster.zoneId, address });
    const joinToken = new Secret(await newJoinToken(tx, { kind: 'host', id: hostId }));
    return { hostId, address, joinToken, caSha256: certificates.caSha256, servers: config.advertise };
  });
}

/** Addresses of the loopback network, one each, so that simulated hosts differ where hosts must. */
export const simulatedAddress = (turn: number): string => numberToIp4(127 * 2 ** 24 + 64 * 2 ** 16 + (turn % 2 ** 20));

async function mustBeNew(tx: Tx, cluster: ClusterRow, { address, url }: { address: string | null; url: string | null }): Promise<void> {
  const twin = await tx.findOneBy(hosts, {
    removedAt: IsNull(),
    ...(address === null ? { clusterId: cluster.id, url: url ?? '' } : { address }),
  });
  if (twin)
    throw new CloudError(
      'InvalidParameter',
      `${url ?? address} is the host ${twin.name} already${twin.resourceState === 'Creating' ? ', which is being added now' : ''}`,
    );
  if (address !== null) await mustBeOutsideRanges(tx, cluster.zoneId, address);
}

async function knownHostKey(tx: Tx, address: string): Promise<string | null> {
  const [last] = await tx.find(hosts, { where: { address }, order: { id: 'DESC' }, take: 1 });
  return last?.sshHostKey ?? null;
}

/** Closing the shell ends whatever is still going on over it. */
async function within(work: Promise<void>, seconds: number, words: string, shell: OpenShell): Promise<void> {
  const timer = new AbortController();
  const late = wait(seconds * 1000, undefined, { signal: timer.signal, ref: false }).then(() => {
    shell.close();
    throw new CloudError('Timeout', `${words} within ${seconds} seconds`);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    timer.abort();
    late.catch(() => undefined);
    work.catch(() => undefined);
  }
}

/** A host that is there, as a job or reconciler finds it. */
export const livingHost = async (tx: Tx, id: Id<'host'>): Promise<HostRow | null> => {
  const host = await tx.findOneBy(hosts, { id });
  return host && host.removedAt === null ? host : null;
};
