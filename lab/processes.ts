import { spawn } from 'node:child_process';
import { mkdir, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError } from '../protocol/errors.ts';
import { plainEnvironment } from './command.ts';
import { readJsonIfAny, readTextIfAny, writeJsonWhole } from './files.ts';
import { identify, isAlive, ProcessIdentity, processesWithVariable, signal, waitUntilGone } from './pids.ts';

/** A process that outlives the one who starts it, known by its pid file. */
export interface BackgroundProcess {
  readonly name: string;
  readonly pidFile: string;
  readonly logFile: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly directory?: string;
  readonly uid?: number;
  readonly gid?: number;
  /** True once it serves. It is asked again and again and must neither block nor throw for long. */
  readonly ready: () => Promise<boolean>;
  readonly readyTimeoutSeconds: number;
}

/** Every background process carries this variable, so one whose starter died before writing the pid file is found too. */
const MARK = 'NEPHOS_PROCESS';

const livingFrom = async (pidFile: string): Promise<ProcessIdentity | null> => {
  const identity = await readJsonIfAny(pidFile, ProcessIdentity);
  return identity !== null && (await isAlive(identity)) ? identity : null;
};

export const processStatus = async (pidFile: string): Promise<'running' | 'stopped'> =>
  (await livingFrom(pidFile)) === null ? 'stopped' : 'running';

/** The verified process of a pid file, or null. */
export const processOf = (pidFile: string): Promise<ProcessIdentity | null> => livingFrom(pidFile);

/** The end of a log, for the detail of an error. */
export const logTail = async (logFile: string, lineCount = 8): Promise<string> =>
  ((await readTextIfAny(logFile)) ?? '').trimEnd().split('\n').slice(-lineCount).join('\n');

const waitForReady = async (spec: BackgroundProcess, identity: ProcessIdentity): Promise<void> => {
  const deadline = performance.now() + spec.readyTimeoutSeconds * 1000;
  for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 1.5, 250)) {
    const alive = await isAlive(identity);
    if (alive && (await spec.ready().catch(() => false))) return;
    const failure = !alive
      ? 'ended before it was ready'
      : performance.now() > deadline
        ? `was not ready within ${spec.readyTimeoutSeconds} s`
        : null;
    if (failure !== null)
      throw new CloudError('Unavailable', `${spec.name} ${failure}; its log is ${spec.logFile}`, {
        logFile: spec.logFile,
        lastLines: await logTail(spec.logFile),
      });
    await sleep(pauseMs);
  }
};

/** Started once, however often it is called; returns when it serves. What does not get ready is stopped again. */
export const startProcess = async (
  spec: BackgroundProcess,
): Promise<{ readonly identity: ProcessIdentity; readonly startedNow: boolean }> => {
  const running = await livingFrom(spec.pidFile);
  if (running !== null) {
    await waitForReady(spec, running);
    return { identity: running, startedNow: false };
  }
  await stopProcess({ name: spec.name, pidFile: spec.pidFile, graceSeconds: 5 });
  await mkdir(dirname(spec.logFile), { recursive: true });
  await mkdir(dirname(spec.pidFile), { recursive: true });
  const log = await open(spec.logFile, 'a', 0o640);
  try {
    const child = spawn(spec.file, spec.args, {
      cwd: spec.directory ?? '/',
      env: { ...plainEnvironment(), ...spec.environment, [MARK]: spec.pidFile },
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
      ...(spec.uid === undefined ? {} : { uid: spec.uid }),
      ...(spec.gid === undefined ? {} : { gid: spec.gid }),
    });
    const failed = new Promise<never>((_, reject) => child.once('error', reject));
    failed.catch(() => undefined);
    const identity = child.pid === undefined ? null : await identify(child.pid);
    if (identity === null) {
      const cause = child.pid === undefined ? await failed.catch((error: unknown) => error) : undefined;
      throw new CloudError('Unavailable', `${spec.name} could not be started; its log is ${spec.logFile}`, {
        cause,
        logFile: spec.logFile,
        lastLines: await logTail(spec.logFile),
      });
    }
    await writeJsonWhole(spec.pidFile, identity);
    child.unref();
    try {
      await waitForReady(spec, identity);
    } catch (error) {
      await stopProcess({ name: spec.name, pidFile: spec.pidFile, graceSeconds: 2 });
      throw error;
    }
    return { identity, startedNow: true };
  } finally {
    await log.close();
  }
};

export interface StopOptions {
  readonly name: string;
  readonly pidFile: string;
  /** From the request to end until the kill. */
  readonly graceSeconds: number;
}

/** Asks, waits, kills; only what the pid file proves to be ours, or what carries our mark. True when something was stopped. */
export const stopProcess = async ({ name, pidFile, graceSeconds }: StopOptions): Promise<boolean> => {
  const recorded = await livingFrom(pidFile);
  const targets = recorded === null ? await processesWithVariable(MARK, pidFile) : [recorded];
  for (const target of targets) await signal(target, 'SIGTERM');
  if (targets.length > 0 && !(await waitUntilGone(targets, graceSeconds))) {
    for (const target of targets) await signal(target, 'SIGKILL');
    if (!(await waitUntilGone(targets, 10))) throw new CloudError('Conflict', `${name} does not end, even killed`, { pidFile });
  }
  await rm(pidFile, { force: true });
  return targets.length > 0;
};
