import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../protocol/errors.ts';
import { type CommandOptions, type CommandResult, command } from './command.ts';
import { isMissing, readJsonIfAny, readTextIfAny, writeJsonWhole, writeTextWhole } from './files.ts';
import { encodeMounts, type Mount } from './mounts.ts';
import { identify, isAlive, ProcessIdentity, parseProcessStat, signal, waitUntilGone } from './pids.ts';
import { processOf, startProcess, stopProcess } from './processes.ts';
import { connectMachine, createNamespace, deleteNamespace, disconnectMachine, namespaceExists } from './switch.ts';
import type { MachinePlan } from './topology.ts';

/**
 * A machine of the lab: network, mount, host name, IPC and process namespaces, kept by a first process that does nothing but reap. When it is killed
 * the kernel ends all the others with it, as when the power goes.
 */
export interface Machine {
  readonly plan: MachinePlan;
  /** Its files, logs and state. */
  readonly directory: string;
}

const initPidFile = ({ directory }: Machine): string => join(directory, 'init.pid.json');
const poweredFile = ({ directory }: Machine): string => join(directory, 'powered.json');
export const machineLog = ({ directory }: Machine, name: string): string => join(directory, 'log', `${name}.log`);

/** The machine's first process as the outside sees it, once all of the power-on was done. */
export const initOf = async (machine: Machine): Promise<ProcessIdentity | null> => {
  const identity = await readJsonIfAny(poweredFile(machine), ProcessIdentity);
  return identity !== null && (await isAlive(identity)) ? identity : null;
};

export const powerOf = async (machine: Machine): Promise<'on' | 'off'> => ((await initOf(machine)) === null ? 'off' : 'on');

const childOf = async (parentPid: number): Promise<ProcessIdentity | null> => {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = parseProcessStat((await readTextIfAny(`/proc/${name}/stat`).catch(() => null)) ?? '');
    if (stat?.parentPid === parentPid) return await identify(Number(name));
  }
  return null;
};

const enterArguments = (init: ProcessIdentity): string[] => [
  '--target',
  String(init.pid),
  '--mount',
  '--uts',
  '--ipc',
  '--net',
  '--pid',
  '--wd=/',
  '--',
];

/** Runs a program inside, as root of that machine, to its end. */
export const runAs = (init: ProcessIdentity, file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> => {
  // Killing nsenter would leave the program behind, so the time limit is kept inside too.
  const limited = ['timeout', '--signal=KILL', String(options.timeoutSeconds), file, ...args];
  return command('nsenter', [...enterArguments(init), ...limited], { ...options, timeoutSeconds: options.timeoutSeconds + 5 });
};

export const runIn = async (machine: Machine, file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> => {
  const init = await initOf(machine);
  if (init === null) throw new CloudError('Unreachable', `${machine.plan.name} is not powered on`);
  return await runAs(init, file, args, options);
};

/** A path of the machine as the outside can open it. It goes wrong where an absolute symbolic link is on the way. */
export const pathInside = (init: ProcessIdentity, path: string): string => `/proc/${init.pid}/root${path}`;

/** Starts a program that stays, or that goes to the background by itself, as a child of the machine's first process. Its output goes to a log outside. */
export const startIn = async (
  machine: Machine,
  init: ProcessIdentity,
  name: string,
  file: string,
  args: readonly string[],
): Promise<void> => {
  await command('nsenter', [...enterArguments(init), 'setsid', '--fork', file, ...args], {
    timeoutSeconds: 20,
    outputFile: machineLog(machine, name),
  });
};

export const mountIn = async (init: ProcessIdentity, mounts: readonly Mount[], stage: string): Promise<void> => {
  const table = `/run/nephos-${stage}.fstab`;
  await writeTextWhole(pathInside(init, table), encodeMounts(mounts));
  await runAs(init, 'mount', ['--all', '--fstab', table], { timeoutSeconds: 30 });
};

/** Off, with nothing left: no process, no device, no namespace. Safe to repeat, also after a start that was cut short. */
export const powerOff = async (machine: Machine): Promise<void> => {
  const { plan } = machine;
  await rm(poweredFile(machine), { force: true });
  const keeper = await processOf(initPidFile(machine));
  const init = keeper === null ? null : await childOf(keeper.pid);
  if (keeper !== null && init !== null) {
    // The kernel ends all others with it. Its keeper then collects it and ends by itself.
    await signal(init, 'SIGKILL');
    await waitUntilGone([keeper], 10);
  }
  await stopProcess({ name: plan.name, pidFile: initPidFile(machine), graceSeconds: 0 });
  await disconnectMachine(plan);
  await deleteNamespace(plan.name);
};

/**
 * The names of all namespaces came along as mounts, and each mount keeps its namespace, with all its devices, alive after it was deleted outside.
 * They may lie on top of each other.
 */
const forgetNamespaces = async (init: ProcessIdentity): Promise<void> => {
  for (let attempt = 0; attempt < 8; attempt++) {
    const mounts = (await readTextIfAny(`/proc/${init.pid}/mountinfo`)) ?? '';
    if (!mounts.split('\n').some((line) => line.split(' ')[4]?.startsWith('/run/netns'))) return;
    await runAs(init, 'umount', ['--lazy', '--recursive', '/run/netns'], { timeoutSeconds: 10, acceptedCodes: [1, 32] });
  }
};

/** On, wired and with its processes started by `boot`. Nothing happens when it is on already. */
export const powerOn = async (machine: Machine, boot: (init: ProcessIdentity) => Promise<void>): Promise<'on already' | 'switched on'> => {
  if ((await initOf(machine)) !== null) return 'on already';
  const { plan } = machine;
  await powerOff(machine);
  await mkdir(join(machine.directory, 'log'), { recursive: true });
  try {
    await createNamespace(plan.name);
    await connectMachine(plan);
    const init = await startInit(machine);
    await forgetNamespaces(init);
    // The machine's run folder is its own: what is written there ends with it.
    await runAs(init, 'mount', ['-t', 'tmpfs', '-o', 'mode=755,nosuid,nodev', 'tmpfs', '/run'], { timeoutSeconds: 10 });
    await runAs(init, 'hostname', [plan.name], { timeoutSeconds: 10 });
    await boot(init);
    await writeJsonWhole(poweredFile(machine), init);
    return 'switched on';
  } catch (error) {
    await powerOff(machine);
    throw error;
  }
};

const startInit = async (machine: Machine): Promise<ProcessIdentity> => {
  const { name } = machine.plan;
  const separate = ['--mount', '--uts', '--ipc', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];
  let init: ProcessIdentity | null = null;
  const { identity } = await startProcess({
    name,
    pidFile: initPidFile(machine),
    logFile: machineLog(machine, 'init'),
    file: 'ip',
    args: ['netns', 'exec', name, 'unshare', ...separate, 'catatonit', '-P'],
    ready: async () => {
      const keeper = await readJsonIfAny(initPidFile(machine), ProcessIdentity);
      init = keeper === null ? null : await childOf(keeper.pid);
      // Between the fork and the exec the child's mounts are not done yet.
      return init !== null && (await isInit(init));
    },
    readyTimeoutSeconds: 15,
  });
  const found = init ?? (await childOf(identity.pid));
  if (found === null) throw new CloudError('Unavailable', `${name} has no first process`, { logFile: machineLog(machine, 'init') });
  return found;
};

const isInit = async (identity: ProcessIdentity): Promise<boolean> => {
  try {
    return (await readTextIfAny(`/proc/${identity.pid}/comm`))?.trim() === 'catatonit';
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
};

export const isConnected = (machine: Machine): Promise<boolean> => namespaceExists(machine.plan.name);
