import { chmod, mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { CloudError } from '../protocol/errors.ts';
import { type CommandOptions, type CommandResult, command } from './command.ts';
import { exists, readJsonIfAny, readTextIfAny, writeJsonWhole } from './files.ts';
import { ensureHostFiles, type HostCredentials, type HostMachine, hostCredentials, powerOnHost } from './host.ts';
import { powerOnInternet } from './internet/machine.ts';
import { withLock } from './lock.ts';
import { initOf, type Machine, powerOf, powerOff, runIn } from './machine.ts';
import { nfsAnswers, powerOnNfs } from './nfs.ts';
import { requireRoot } from './packages.ts';
import { startedAtMs } from './pids.ts';
import { portOpen } from './probes.ts';
import { ensureSwitch, namespaceExists, removeSwitch, setWires, tidyNamespaceFolder } from './switch.ts';
import { HOSTS_MAX, type HostPlan, hostPlan, hostPlans, internetPlan, type LabNetwork, nfsPlan, topology } from './topology.ts';

export interface LabOptions {
  readonly varDir: string;
  /** How many hosts; those that run already stay. */
  readonly hosts?: number;
  readonly onProgress?: (fraction: number, note: string) => void;
}

/**
 * One machine holds one lab, because names and addresses are fixed. This file says whose it is; the lock beside it lets one change it at a time. Both
 * stand in /run: after a reboot nothing is left of a lab, and neither are they.
 */
const OWNER_DIRECTORY = '/run/nephos-lab';
const OWNER_FILE = join(OWNER_DIRECTORY, 'owner.json');
const LOCK_FILE = join(OWNER_DIRECTORY, 'lock');
const Owner = z.strictObject({ varDir: z.string(), hosts: z.int().min(0).max(HOSTS_MAX) });
type Owner = z.infer<typeof Owner>;

const locked = <T>(about: string, work: () => Promise<T>): Promise<T> =>
  withLock(LOCK_FILE, { timeoutSeconds: 300, about, removeFile: true }, work).finally(() => rmdir(OWNER_DIRECTORY).catch(() => undefined));

const labDirectory = (varDir: string): string => join(varDir, 'lab');
const hostMachine = (varDir: string, plan: HostPlan): HostMachine => ({ plan, directory: join(labDirectory(varDir), 'hosts', plan.name) });
const internetMachine = (varDir: string): Machine => ({
  plan: internetPlan,
  directory: join(labDirectory(varDir), 'machines', internetPlan.name),
});
const nfsMachine = (varDir: string): Machine => ({ plan: nfsPlan, directory: join(labDirectory(varDir), 'machines', nfsPlan.name) });

/** Where the parts of `up` find the lab's files. */
export const labPaths = (varDir: string) => ({
  images: join(resolve(varDir), 'images'),
  primary: join(labDirectory(resolve(varDir)), 'primary'),
  secondary: join(labDirectory(resolve(varDir)), 'secondary'),
  /** A key pair that every host's root account accepts. */
  sshKey: join(labDirectory(resolve(varDir)), 'ssh', 'id_ed25519'),
});

const currentOwner = (): Promise<Owner | null> => readJsonIfAny(OWNER_FILE, Owner);

/** A lab whose checkout was deleted belongs to nobody, and whoever comes next may clear it away. */
const isForeign = async (owner: Owner, varDir: string): Promise<boolean> => owner.varDir !== varDir && (await exists(owner.varDir));

const claim = async (varDir: string, hosts: number): Promise<void> => {
  const owner = await currentOwner();
  if (owner !== null && (await isForeign(owner, varDir)) && (await namespaceExists(topology.switch.namespace)))
    throw new CloudError('Conflict', `this machine already holds the lab of ${owner.varDir}; there can be only one`, {
      remedy: `run \`npm run down\` in the checkout of ${owner.varDir} first`,
    });
  await writeJsonWhole(OWNER_FILE, { varDir, hosts: Math.max(hosts, owner?.varDir === varDir ? owner.hosts : 0) });
};

/** The lab that is up, for the calls that name a host and nothing else. */
const requireOwner = async (): Promise<Owner> => {
  const owner = await currentOwner();
  if (owner === null) throw new CloudError('NotFound', 'there is no lab on this machine', { remedy: 'run `npm run up`' });
  return owner;
};

const requireHost = async (name: string): Promise<HostMachine> => {
  const owner = await requireOwner();
  const plan = hostPlans(owner.hosts).find((candidate) => candidate.name === name);
  if (plan === undefined) throw new CloudError('NotFound', `the lab has no host ${name}`);
  return hostMachine(owner.varDir, plan);
};

const ensureSshKey = async (path: string): Promise<string> => {
  const known = await readTextIfAny(`${path}.pub`);
  if (known !== null) return known;
  await mkdir(join(path, '..'), { recursive: true });
  await chmod(join(path, '..'), 0o700);
  // The public half is written last, so its absence says that the pair is not whole.
  await rm(path, { force: true });
  await command('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'nephos-lab', '-f', path], { timeoutSeconds: 20 });
  return (await readTextIfAny(`${path}.pub`)) ?? '';
};

const ensureDirectories = async (varDir: string): Promise<void> => {
  const { images, primary, secondary } = labPaths(varDir);
  for (const path of [images, primary, secondary]) await mkdir(path, { recursive: true });
  // The accounts QEMU runs under pass through it; the path to it on the machine itself is closed to them or not, as it was.
  await chmod(primary, 0o755);
};

/** The road back from a host to the machine must be open: the agents dial the management server on it. */
const checkRoadBack = async (host: HostMachine): Promise<void> => {
  const { address } = topology.machine.management;
  const { code } = await runIn(host, 'ping', ['-n', '-q', '-c', '2', '-i', '0.2', '-W', '2', address], {
    timeoutSeconds: 15,
    acceptedCodes: [1, 2],
  });
  if (code !== 0)
    throw new CloudError('Unreachable', `${host.plan.name} cannot reach the machine at ${address}`, {
      remedy: `allow traffic from the device ${topology.machine.management.device} in this machine's firewall, then run the same command again`,
    });
};

/** Builds what is missing of the lab and starts what does not run. */
export const labUp = async ({ varDir: givenVarDir, hosts = 2, onProgress }: LabOptions): Promise<void> => {
  requireRoot('the lab');
  if (!Number.isInteger(hosts) || hosts < 1 || hosts > HOSTS_MAX)
    throw new CloudError('InvalidParameter', `a lab has 1 to ${HOSTS_MAX} hosts`);
  const varDir = resolve(givenVarDir);
  await locked('building the lab', async () => {
    await claim(varDir, hosts);
    const machines = hostPlans(hosts).map((plan) => hostMachine(varDir, plan));
    const paths = labPaths(varDir);
    const partCount = machines.length + 3;
    let doneCount = 0;
    const done = (note: string): void => onProgress?.(++doneCount / partCount, note);
    await ensureDirectories(varDir);
    const authorizedKey = await ensureSshKey(paths.sshKey);
    await ensureSwitch();
    done('switch');
    const plans = hostPlans(HOSTS_MAX);
    const results = await Promise.allSettled([
      powerOnInternet(internetMachine(varDir), paths.images).then(() => done(internetPlan.name)),
      powerOnNfs(nfsMachine(varDir), paths.secondary).then(() => done(nfsPlan.name)),
      ...machines.map(async (machine) => {
        await ensureHostFiles(machine, authorizedKey);
        await powerOnHost(machine, plans, paths.primary);
        await checkRoadBack(machine);
        done(machine.plan.name);
      }),
    ]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  });
};

/** Every namespace of a lab, whoever made it and whatever became of the record of it. */
const labNamespaces = async (): Promise<string[]> => {
  const names = await readdir('/run/netns').catch(() => []);
  const ours = new Set([internetPlan.name, nfsPlan.name, ...hostPlans(HOSTS_MAX).map(({ name }) => name)]);
  return names.filter((name) => ours.has(name));
};

/** Ends everything of the lab and keeps its files. A second call finds nothing to do. */
export const labDown = async ({ varDir: givenVarDir }: { readonly varDir: string }): Promise<void> => {
  const varDir = resolve(givenVarDir);
  const owner = await currentOwner();
  const nothingLeft = owner === null && (await labNamespaces()).length === 0 && !(await namespaceExists(topology.switch.namespace));
  if (nothingLeft) return;
  requireRoot('taking the lab down');
  await locked('taking the lab down', async () => {
    const current = await currentOwner();
    if (current !== null && (await isForeign(current, varDir)))
      throw new CloudError('Conflict', `the lab on this machine is that of ${current.varDir}`, {
        remedy: `run \`npm run down\` in the checkout of ${current.varDir}`,
      });
    const found = new Set(await labNamespaces());
    const machines: Machine[] = [
      internetMachine(varDir),
      nfsMachine(varDir),
      ...hostPlans(HOSTS_MAX).map((plan) => hostMachine(varDir, plan)),
    ];
    const results = await Promise.allSettled(
      machines.map(async (machine) => {
        if (found.has(machine.plan.name) || (await powerOf(machine)) === 'on') await powerOff(machine);
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    await removeSwitch();
    await tidyNamespaceFolder();
    await rm(OWNER_FILE, { force: true });
  });
};

/** Down, and without its files: hosts' disks, secondary storage, keys and passwords. */
export const labWipe = async ({ varDir }: { readonly varDir: string }): Promise<void> => {
  await labDown({ varDir });
  await rm(labDirectory(resolve(varDir)), { recursive: true, force: true });
};

export interface MachineStatus {
  readonly name: string;
  readonly power: 'on' | 'off';
  readonly addresses: readonly string[];
  /** Whether what the machine is there for answers: ssh on a host, the web, NFS. */
  readonly answers: boolean;
}

export interface LabStatus {
  /** The var directory the lab belongs to, or null when there is none. */
  readonly varDir: string | null;
  readonly switch: 'up' | 'down';
  readonly machines: readonly MachineStatus[];
}

export const labStatus = async (): Promise<LabStatus> => {
  const owner = await currentOwner();
  const switchState = (await namespaceExists(topology.switch.namespace)) ? 'up' : 'down';
  if (owner === null) return { varDir: null, switch: switchState, machines: [] };
  const { varDir } = owner;
  const ask = async (machine: Machine, answers: () => Promise<boolean>): Promise<MachineStatus> => {
    const power = await powerOf(machine);
    const addresses = machine.plan.wires.flatMap(({ address }) => (address === null ? [] : [address]));
    return { name: machine.plan.name, power, addresses, answers: power === 'on' && (await answers()) };
  };
  const machines = await Promise.all([
    ask(internetMachine(varDir), () => portOpen(topology.internet.address, topology.internet.httpPort)),
    ask(nfsMachine(varDir), () => nfsAnswers()),
    ...hostPlans(owner.hosts).map((plan) => ask(hostMachine(varDir, plan), () => portOpen(plan.managementAddress, 22))),
  ]);
  return { varDir, switch: switchState, machines };
};

/** When the host that was switched on last was, in milliseconds since 1970; what was told of a host before that is not true of it now. */
export const hostsOnSinceMs = async (givenVarDir: string, hosts: number): Promise<number> => {
  const inits = await Promise.all(hostPlans(hosts).map((plan) => initOf(hostMachine(resolve(givenVarDir), plan))));
  return Math.max(0, ...(await Promise.all(inits.flatMap((init) => (init === null ? [] : [startedAtMs(init)])))));
};

/** The plug is pulled: every process of the host dies at once, QEMU too. */
export const hostPowerOff = async (name: string): Promise<void> =>
  locked(`switching ${name} off`, async () => powerOff(await requireHost(name)));

/** The host boots; scripts that an installer left in its /etc/init.d are started. */
export const hostPowerOn = async (name: string): Promise<void> =>
  locked(`switching ${name} on`, async () => {
    const { varDir } = await requireOwner();
    const host = await requireHost(name);
    const { primary, sshKey } = labPaths(varDir);
    await ensureSwitch();
    await ensureHostFiles(host, await ensureSshKey(sshKey));
    await powerOnHost(host, hostPlans(HOSTS_MAX), primary);
  });

const allNetworks: readonly LabNetwork[] = ['management', 'storage', 'public'];

/** The host runs on, but its cables carry nothing. */
export const hostCutNetwork = async (name: string, networks: readonly LabNetwork[] = allNetworks): Promise<void> =>
  setWires((await requireHost(name)).plan, networks, 'down');

export const hostJoinNetwork = async (name: string, networks: readonly LabNetwork[] = allNetworks): Promise<void> =>
  setWires((await requireHost(name)).plan, networks, 'up');

/** Runs a program as root of a host, to its end. */
export const inHost = async (name: string, file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> =>
  runIn(await requireHost(name), file, args, options);

/** Runs a program of the machine itself in the network of any namespace of the lab, the switch and the servers included. */
export const inNamespace = (name: string, file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> =>
  command('ip', ['netns', 'exec', name, file, ...args], options);

/** How to log in to a host as the operator who adds it to the cloud would. */
export const labHostCredentials = async (varDir: string, number: number): Promise<HostCredentials> =>
  hostCredentials(hostMachine(resolve(varDir), hostPlan(number)));
