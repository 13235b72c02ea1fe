import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

/**
 * A process id alone says nothing: ids are used again, also after a reboot. With the time of its start and the id of the boot it names one
 * process for ever, so nothing else can be killed by mistake.
 */
export const ProcessIdentity = z.strictObject({ pid: z.int().positive(), startTicks: z.int().nonnegative(), bootId: z.string() });
export type ProcessIdentity = z.infer<typeof ProcessIdentity>;

const readText = async (path: string): Promise<string | null> => {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return null;
  }
};

export const bootId = async (): Promise<string> => (await readText('/proc/sys/kernel/random/boot_id'))?.trim() ?? 'unknown';

/** The name in the second field may hold blanks and brackets, so the fields are counted from the last closing bracket. */
export const parseProcessStat = (
  stat: string,
): { readonly state: string; readonly parentPid: number; readonly startTicks: number } | null => {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, parentPid] = fields;
  const startTicks = Number(fields[19]);
  return state === undefined || fields.length < 20 || !Number.isSafeInteger(startTicks)
    ? null
    : { state, parentPid: Number(parentPid), startTicks };
};

/** Null when there is no such process, or only its remains wait for their parent. */
export const identify = async (pid: number): Promise<ProcessIdentity | null> => {
  const stat = parseProcessStat((await readText(`/proc/${pid}/stat`)) ?? '');
  return stat === null || stat.state === 'Z' || stat.state === 'X' ? null : { pid, startTicks: stat.startTicks, bootId: await bootId() };
};

export const isAlive = async (identity: ProcessIdentity): Promise<boolean> => {
  const now = await identify(identity.pid);
  return now !== null && now.startTicks === identity.startTicks && now.bootId === identity.bootId;
};

/** The kernel's unit of a process's start time, whatever its own timer runs at. */
const TICKS_PER_SECOND = 100;

/** When it began, by this machine's clock, in milliseconds since 1970. */
export const startedAtMs = async ({ startTicks }: ProcessIdentity): Promise<number> => {
  const uptimeSeconds = Number((await readFile('/proc/uptime', 'utf8')).split(' ')[0]);
  return Date.now() - (uptimeSeconds - startTicks / TICKS_PER_SECOND) * 1000;
};

const allPids = async (): Promise<number[]> => (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);

const filterPids = async (matches: (pid: number) => Promise<boolean>): Promise<ProcessIdentity[]> => {
  const found: ProcessIdentity[] = [];
  for (const pid of await allPids()) {
    if (pid === process.pid || !(await matches(pid))) continue;
    const identity = await identify(pid);
    if (identity !== null) found.push(identity);
  }
  return found.sort((a, b) => a.startTicks - b.startTicks || a.pid - b.pid);
};

/** Every process that carries this variable in its environment, oldest first. */
export const processesWithVariable = (name: string, value: string): Promise<ProcessIdentity[]> =>
  filterPids(async (pid) => (await readText(`/proc/${pid}/environ`))?.split('\0').includes(`${name}=${value}`) ?? false);

/** Every process inside a network namespace, given as `net:[4026532000]`. */
export const processesInNetworkNamespace = (link: string): Promise<ProcessIdentity[]> =>
  filterPids(async (pid) => {
    try {
      return (await readlink(`/proc/${pid}/ns/net`)) === link;
    } catch {
      return false;
    }
  });

/** Signals exactly this process; false when it is gone. */
export const signal = async (identity: ProcessIdentity, name: 'SIGTERM' | 'SIGKILL'): Promise<boolean> => {
  if (!(await isAlive(identity))) return false;
  try {
    process.kill(identity.pid, name);
    return true;
  } catch {
    return false;
  }
};

export const waitUntilGone = async (identities: readonly ProcessIdentity[], timeoutSeconds: number): Promise<boolean> => {
  const deadline = performance.now() + timeoutSeconds * 1000;
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 100)) {
    const alive = await Promise.all(identities.map(isAlive));
    if (!alive.includes(true)) return true;
    if (performance.now() > deadline) return false;
    await sleep(pauseMs);
  }
};
