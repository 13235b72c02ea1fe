/** Daemons of a system VM, kept in the foreground as children: started again with back-off when they end by themselves. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Log } from '../protocol/log.ts';
import { readFileOrNull, removeFileIfPresent, writeFileIfChanged } from './files.ts';

const RESTART_FIRST_SECONDS = 0.2;
const RESTART_MAX_SECONDS = 15;
/** A daemon that has run this long is taken for well again. */
const STEADY_SECONDS = 20;
const STOP_SECONDS = 5;
/** What a daemon said last, for the log when it ends. */
const LAST_LINES = 5;

export interface Daemon {
  readonly name: string;
  /** An absolute path. */
  readonly command: string;
  readonly arguments: readonly string[];
  /** Sees each line the daemon prints, beside the log. */
  readonly onLine?: (line: string) => void;
}
/** `failed`: it ended by itself and has not been up again since; it is still being tried. */
export type DaemonState = 'running' | 'stopped' | 'failed';

export interface Processes {
  /** Makes the daemon run with these arguments; one that runs with other arguments is stopped first. */
  readonly start: (daemon: Daemon) => Promise<void>;
  readonly stop: (name: string) => Promise<void>;
  /** Stops and starts a daemon that should run, at once and without back-off. */
  readonly restart: (name: string) => Promise<void>;
  /** Sends a signal; says whether there was a process to send it to. */
  readonly signal: (name: string, signal: NodeJS.Signals) => boolean;
  readonly state: (name: string) => DaemonState;
  readonly pid: (name: string) => number | null;
  /** Names of all that were ever started. */
  readonly names: () => readonly string[];
  readonly close: () => Promise<void>;
}

interface Entry {
  daemon: Daemon;
  wanted: boolean;
  child: ChildProcess | null;
  restartSeconds: number;
  timer: NodeJS.Timeout | null;
}

const sameDaemon = (a: Daemon, b: Daemon): boolean =>
  a.command === b.command && a.arguments.length === b.arguments.length && a.arguments.every((value, index) => value === b.arguments[index]);
const sleep = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

export function processes({ runFolder, log }: { runFolder: string; log: Log }): Processes {
  const entries = new Map<string, Entry>();
  const pidFile = (name: string): string => `${runFolder}/pid/${name}`;

  const follow = ({ name, onLine }: Daemon, stream: Readable, lastLines: string[]): void => {
    createInterface({ input: stream }).on('line', (line) => {
      // Not more than debug: the log goes to a serial port, where every character costs.
      log.debug({ daemon: name, line: line.slice(0, 500) }, 'daemon');
      lastLines.push(line.slice(0, 200));
      if (lastLines.length > LAST_LINES) lastLines.shift();
      onLine?.(line);
    });
  };

  const launch = (entry: Entry): void => {
    const { name, command, arguments: commandArguments } = entry.daemon;
    entry.timer = null;
    const child = spawn(command, [...commandArguments], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    });
    entry.child = child;
    const startedAt = Date.now();
    const lastLines: string[] = [];
    follow(entry.daemon, child.stdout, lastLines);
    follow(entry.daemon, child.stderr, lastLines);
    const ended = (why: Record<string, unknown>): void => {
      if (entry.child !== child) return;
      entry.child = null;
      if (!entry.wanted) return;
      if (Date.now() - startedAt > STEADY_SECONDS * 1000) entry.restartSeconds = RESTART_FIRST_SECONDS;
      log.warn({ daemon: name, ...why, lastLines, restartSeconds: entry.restartSeconds }, 'a daemon has ended and will be started again');
      entry.timer = setTimeout(() => launch(entry), entry.restartSeconds * 1000);
      entry.restartSeconds = Math.min(entry.restartSeconds * 2, RESTART_MAX_SECONDS);
    };
    child.on('error', (error) => ended({ err: error }));
    child.on('exit', (exitCode, signal) => ended({ exitCode, signal }));
    if (child.pid !== undefined)
      writeFileIfChanged(pidFile(name), `${child.pid}\n`).catch((error: unknown) => log.warn({ err: error, daemon: name }, 'no pid file'));
  };

  /** A daemon outlives this program when it is killed, and goes on serving. Its successor makes room first. */
  const endPredecessor = async ({ name, command }: Daemon): Promise<void> => {
    const pid = Number((await readFileOrNull(pidFile(name)))?.toString('utf8').trim());
    if (!Number.isInteger(pid) || pid <= 1) return;
    const isAlive = async (): Promise<boolean> => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(command);
    for (const [signal, attempts] of [['SIGTERM', 30] as const, ['SIGKILL', 20] as const]) {
      if (!(await isAlive())) return;
      try {
        process.kill(pid, signal);
      } catch {
        return;
      }
      for (let attempt = 0; attempt < attempts && (await isAlive()); attempt++) await sleep(50);
    }
  };

  const stopEntry = async (entry: Entry): Promise<void> => {
    entry.wanted = false;
    if (entry.timer) clearTimeout(entry.timer);
    entry.timer = null;
    const child = entry.child;
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.kill('SIGTERM');
      const kill = setTimeout(() => child.kill('SIGKILL'), STOP_SECONDS * 1000);
      await gone;
      clearTimeout(kill);
    }
    entry.child = null;
    await removeFileIfPresent(pidFile(entry.daemon.name));
  };

  const newEntry = (daemon: Daemon): Entry => {
    const entry: Entry = { daemon, wanted: true, child: null, restartSeconds: RESTART_FIRST_SECONDS, timer: null };
    launch(entry);
    return entry;
  };

  return {
    start: async (daemon) => {
      const present = entries.get(daemon.name);
      if (present?.wanted && sameDaemon(present.daemon, daemon)) return;
      if (present) await stopEntry(present);
      else {
        await mkdir(`${runFolder}/pid`, { recursive: true });
        await endPredecessor(daemon);
      }
      entries.set(daemon.name, newEntry(daemon));
    },
    stop: async (name) => {
      const entry = entries.get(name);
      if (entry) await stopEntry(entry);
    },
    restart: async (name) => {
      const entry = entries.get(name);
      if (!entry?.wanted) return;
      await stopEntry(entry);
      entries.set(name, newEntry(entry.daemon));
    },
    signal: (name, signal) => entries.get(name)?.child?.kill(signal) ?? false,
    state: (name) => {
      const entry = entries.get(name);
      if (!entry?.wanted) return 'stopped';
      return entry.child === null ? 'failed' : 'running';
    },
    pid: (name) => entries.get(name)?.child?.pid ?? null,
    names: () => [...entries.keys()],
    close: async () => {
      await Promise.all([...entries.values()].map(stopEntry));
    },
  };
}
