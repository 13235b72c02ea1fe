/**
 * What every system VM runs before its own work: boot arguments, network, link to management; and beside the link its firewall and
 * sshd. The link comes first, because a system VM is Starting until management hears from it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { startupSnapshot } from 'node:v8';
import { CloudError } from '../protocol/errors.ts';
import type { NicRole, SystemVmKind } from '../protocol/kinds.ts';
import { type AgentLink, openAgentLink } from '../protocol/link/agent-link.ts';
import { fileIdentityStore, type LinkIdentity } from '../protocol/link/identity.ts';
import { createLog, type Log } from '../protocol/log.ts';
import { type Handler, on } from '../protocol/message.ts';
import type { Beat, BellSubject } from '../protocol/messages/beat.ts';
import { ApplyAuthorizedKeys, DescribeSystemVm } from '../protocol/messages/systemvm.ts';
import { type BootArguments, type BootNic, parseBootArguments } from './bootargs.ts';
import { readFileOrNull } from './files.ts';
import { applyOwnFirewall } from './firewall.ts';
import { describeSystemVm } from './health.ts';
import { applyAuthorizedKeys, startSshd } from './keys.ts';
import { type Machine, systemVmMachine } from './machine.ts';
import { applyNetwork } from './network.ts';
import { type Processes, processes } from './processes.ts';
import { type BootStages, bootStages } from './stages.ts';

/** What a role is given to work with. Everything here may be used from the first line of `start`. */
export interface RoleContext {
  readonly bootArguments: BootArguments;
  readonly machine: Machine;
  readonly log: Log;
  readonly stages: BootStages;
  readonly processes: Processes;
  /** The version of the payload this program came with. */
  readonly version: string;
  readonly nic: (role: NicRole) => BootNic | null;
  /** Ends when addresses and routes are set; servers that bind to an address wait for it. */
  readonly networkReady: Promise<void>;
  /** Ends when nothing but the ports of the kind can be reached; it comes after the link, so a server that listens sooner is open wider. */
  readonly firewallReady: Promise<void>;
  /** Does not wait any longer with it; for work that nothing should be open during. */
  readonly wantFirewall: () => void;
  /** Tells management that something changed; a bell rung while the link is down rings when it is up. */
  readonly ring: (subject: BellSubject) => void;
  readonly beatNow: () => void;
  /** Null until management has issued the certificate. */
  readonly identity: () => LinkIdentity | null;
  /** Called after each connection to management, also when the certificate is a new one. */
  readonly onUp: (listener: () => void) => void;
}
export interface RunningRole {
  readonly handlers: readonly Handler[];
  /** The role's part of each heartbeat. */
  readonly beat: () => Promise<Beat>;
  readonly close?: () => Promise<void>;
}
export interface Role {
  readonly kind: SystemVmKind;
  /** UDP ports it listens on, by NIC role, beside the TCP ports of its definition. */
  readonly listensUdp?: Partial<Record<NicRole, readonly number[]>>;
  /** Must not wait for anything slow: the link opens when it has returned. It runs while the network is being configured. */
  readonly start: (context: RoleContext) => Promise<RunningRole>;
}
export interface SystemVm {
  readonly link: AgentLink;
  readonly stages: BootStages;
  /** Ends when firewall and sshd are up as well. */
  readonly ready: Promise<void>;
  /** Says goodbye to management and stops the daemons. */
  readonly close: () => Promise<void>;
}

/** How long firewall and sshd wait for the link; an operator must get in also where management cannot be reached. */
const LINK_FIRST_SECONDS = 8;
/** What management asks first after the link is up makes the difference between Connecting and Up; it goes before them, too. */
const ASKS_FIRST_SECONDS = 1;

const sleep = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Boots the system VM's program; throws when a stage fails. `serve` is this with a process around it. */
export async function startSystemVm(role: Role, machine: Machine, log: Log): Promise<SystemVm> {
  const stages = bootStages(machine.consoleFile);
  stages.mark('agent');
  const bootArguments = await stages.run('arguments', async () => {
    const parsed = parseBootArguments(readFileSync(machine.commandLineFile, 'utf8'));
    if (parsed.kind !== role.kind.kind)
      throw new CloudError('InvalidParameter', `type is ${parsed.kind}, but this program is the ${role.kind.kind}`);
    return parsed;
  });
  const version = (await readFileOrNull(machine.versionFile))?.toString('utf8').split('\n')[0]?.trim().slice(0, 80) || 'unversioned';
  // First of all, for whoever makes a private folder below it would make this one private, too, and daemons without root's rights read here.
  mkdirSync(machine.runFolder, { recursive: true, mode: 0o755 });
  const daemons = processes({ runFolder: machine.runFolder, log });
  const nic = (wanted: NicRole): BootNic | null => bootArguments.nics.find((candidate) => candidate.role === wanted) ?? null;

  // Kept in memory-backed storage, so that this program can be started again: the token is good for one join. A new token, as after a
  // reboot, makes a new identity.
  const tokenDigest = createHash('sha256').update(bootArguments.token.reveal()).digest('hex').slice(0, 16);
  const identityFolder = `${machine.runFolder}/identity-${tokenDigest}`;

  let link: AgentLink | null = null;
  const upListeners: (() => void)[] = [];
  let sawLink = (): void => undefined;
  const linkSeen = new Promise<void>((resolve) => {
    sawLink = resolve;
  });
  let wantFirewall = (): void => undefined;
  const firewallWanted = new Promise<void>((resolve) => {
    wantFirewall = resolve;
  });
  const networkReady = stages.run('network', () => applyNetwork(bootArguments, machine));
  // In an emulated machine loading the kernel's packet filter takes as long as joining does, and the one would hold up the other. Until
  // then sshd is not there, and nothing is forwarded.
  const firewallReady = networkReady
    .then(() => Promise.race([firewallWanted, linkSeen.then(() => sleep(ASKS_FIRST_SECONDS)), sleep(LINK_FIRST_SECONDS)]))
    .then(() => stages.run('firewall', () => applyOwnFirewall(bootArguments, role.kind.listens, role.listensUdp ?? {})));
  const roleReady = stages.run('role', () =>
    role.start({
      bootArguments,
      machine,
      log,
      stages,
      processes: daemons,
      version,
      nic,
      networkReady,
      firewallReady,
      wantFirewall: () => wantFirewall(),
      ring: (subject) => link?.ring(subject),
      beatNow: () => link?.beatNow(),
      identity: () => link?.identity() ?? null,
      onUp: (listener) => upListeners.push(listener),
    }),
  );
  const sshReady = (async () => {
    await firewallReady;
    await stages.run('ssh', () => startSshd(bootArguments, machine, daemons));
  })();
  const ready = Promise.all([sshReady, roleReady]).then(() => stages.mark('ready'));
  // A failure of these is seen by whoever awaits `ready`; without this line Node would end the process before the stage can be read.
  for (const promise of [firewallReady, sshReady, ready]) promise.catch(() => undefined);

  const [running] = await Promise.all([roleReady, networkReady]);
  let isUp = false;
  link = openAgentLink({
    kind: role.kind.kind,
    id: bootArguments.id,
    servers: bootArguments.servers,
    join: { token: bootArguments.token.reveal(), caSha256: bootArguments.caSha256 },
    store: fileIdentityStore(identityFolder),
    version,
    handlers: [
      ...running.handlers,
      on(DescribeSystemVm, async () => describeSystemVm({ machine, version, stages: stages.list() })),
      on(ApplyAuthorizedKeys, async ({ keys }) => {
        await applyAuthorizedKeys(machine, keys);
        return {};
      }),
    ],
    beat: running.beat,
    onUp: () => {
      if (!isUp) stages.mark('link');
      isUp = true;
      sawLink();
      for (const listener of upListeners) listener();
    },
    log,
  });
  const openLink = link;
  let closing: Promise<void> | null = null;
  return {
    link: openLink,
    stages,
    ready,
    close: () =>
      (closing ??= (async () => {
        await openLink.close();
        // A daemon that is still to be started would be left behind, and so would that of a predecessor.
        wantFirewall();
        await ready.catch(() => undefined);
        await running.close?.();
        await daemons.close();
      })()),
  };
}

/** Runs a role's program; while a snapshot of it is made, it is kept to be run when node starts from the snapshot. */
export async function serve(role: Role, machine: Machine = systemVmMachine): Promise<void> {
  if (startupSnapshot.isBuildingSnapshot()) startupSnapshot.setDeserializeMainFunction(() => void live(role, machine));
  else await live(role, machine);
}

/** The whole life of a role's process. A stage that fails can be seen for a while, then the process ends and the boot stub starts it again. */
async function live(role: Role, machine: Machine): Promise<void> {
  const log = createLog(role.kind.kind);
  const fail = async (error: unknown): Promise<never> => {
    log.fatal({ err: error }, 'the system VM cannot work');
    await sleep(machine.failurePauseSeconds);
    process.exit(1);
  };
  process.on('uncaughtException', (error) => void fail(error));
  process.on('unhandledRejection', (error) => void fail(error));
  try {
    const systemVm = await startSystemVm(role, machine, log);
    const stop = (): void => {
      const kill = setTimeout(() => process.exit(1), 10_000);
      systemVm
        .close()
        .catch((error: unknown) => log.error({ err: error }, 'could not stop cleanly'))
        .finally(() => {
          clearTimeout(kill);
          process.exit(0);
        });
    };
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
    await systemVm.ready;
  } catch (error) {
    await fail(error);
  }
}
