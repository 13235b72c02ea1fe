import { spawn } from 'node:child_process';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CloudError } from '../protocol/errors.ts';
import { plainEnvironment } from './command.ts';

export interface LockOptions {
  readonly timeoutSeconds: number;
  /** What the holder is doing, for the one who waits in vain. */
  readonly about: string;
  /** Leaves no lock file behind, for folders that must be as they were. */
  readonly removeFile?: boolean;
}

const CONFLICT_EXIT_CODE = 75;
const GRANTED = 'granted\n';

interface Holder {
  readonly pid: number;
  release(): Promise<void>;
}

/**
 * The kernel's own file lock, held by a small child that lives until its input closes. However this process ends, the pipe closes, the child ends and
 * the lock is free: there are no stale locks to judge.
 */
const take = (path: string, { timeoutSeconds, about }: LockOptions): Promise<Holder> =>
  new Promise((resolve, reject) => {
    const child = spawn(
      'flock',
      ['--exclusive', '--wait', String(timeoutSeconds), '--conflict-exit-code', String(CONFLICT_EXIT_CODE), path, 'cat'],
      {
        cwd: '/',
        env: plainEnvironment(),
        stdio: ['pipe', 'pipe', 'ignore'],
        // Ctrl-C goes to the whole foreground group; the lock must hold while the cleaning up runs.
        detached: true,
      },
    );
    const ended = new Promise<void>((done) => child.once('close', () => done()));
    child.stdin.on('error', () => undefined);
    child.once('error', (cause) => reject(new CloudError('Internal', 'flock could not be started', { cause })));
    child.once('exit', (code) =>
      reject(
        code === CONFLICT_EXIT_CODE
          ? new CloudError('Conflict', `another process has been busy with ${about} for more than ${timeoutSeconds} s`, { lockFile: path })
          : new CloudError('Internal', `the lock file ${path} could not be locked`, { code }),
      ),
    );
    child.stdout.once('data', () => {
      const release = async (): Promise<void> => {
        child.stdin.end();
        await ended;
      };
      resolve({ pid: child.pid ?? 0, release });
    });
    child.stdin.write(GRANTED);
  });

/** The file may have been removed while we waited; a lock on a removed file excludes nobody. */
const holdsFileAt = async (pid: number, path: string): Promise<boolean> => {
  try {
    const { ino, dev } = await stat(path);
    for (const name of await readdir(`/proc/${pid}/fd`)) {
      const held = await stat(`/proc/${pid}/fd/${name}`).catch(() => null);
      if (held?.ino === ino && held.dev === dev) return true;
    }
  } catch {
    return false;
  }
  return false;
};

/** One at a time, over all processes of the machine and over all calls of this one. */
export const withLock = async <T>(path: string, options: LockOptions, work: () => Promise<T>): Promise<T> => {
  for (;;) {
    await mkdir(dirname(path), { recursive: true });
    const holder = await take(path, options);
    try {
      if (!(await holdsFileAt(holder.pid, path))) continue;
      try {
        return await work();
      } finally {
        if (options.removeFile === true) await rm(path, { force: true });
      }
    } finally {
      await holder.release();
    }
  }
};
