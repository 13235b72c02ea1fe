/**
 * A lock between hosts that share a directory: one file, made exclusively, touched while its holder lives. It only saves the others the
 * work; what they publish is checked and moved into place whole, so two holders by accident do no harm.
 */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { isMissing, isTaken } from '../files.ts';

export interface LockTiming {
  readonly beatSeconds: number;
  readonly staleSeconds: number;
  readonly pollSeconds: number;
}
const TIMING: LockTiming = { beatSeconds: 5, staleSeconds: 30, pollSeconds: 1 };

/** Waits for the lock or until `done` says that the work has been done by somebody else; then `work` is not called. */
export async function withSharedLock(
  path: string,
  { done, work, signal }: { done: () => Promise<boolean>; work: () => Promise<void>; signal: AbortSignal },
  timing: LockTiming = TIMING,
): Promise<void> {
  const owner = randomBytes(12).toString('hex');
  let watched = { sign: '', since: 0 };
  for (;;) {
    if (await done()) return;
    signal.throwIfAborted();
    if (await taken(path, owner)) break;
    const sign = await signOfLife(path);
    if (sign === null) continue;
    // Staleness is measured by our own clock, as time without a change: the clocks of two hosts and a file server never agree.
    if (watched.sign !== sign) watched = { sign, since: performance.now() };
    else if (performance.now() - watched.since > timing.staleSeconds * 1000) {
      await clearStale(path, sign);
    }
    await wait(timing.pollSeconds * 1000, undefined, { signal });
  }
  const beat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, timing.beatSeconds * 1000);
  try {
    if (!(await done())) await work();
  } finally {
    clearInterval(beat);
    if ((await ownerOf(path)) === owner) await rm(path, { force: true });
  }
}

async function taken(path: string, owner: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx', 0o600);
    await file.writeFile(owner).finally(() => file.close());
    return true;
  } catch (error) {
    if (isTaken(error)) return false;
    throw error;
  }
}

const ownerOf = (path: string): Promise<string | null> =>
  readFile(path, 'utf8').catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });

async function signOfLife(path: string): Promise<string | null> {
  try {
    const [owner, { mtimeMs }] = await Promise.all([ownerOf(path), stat(path)]);
    return owner === null ? null : `${owner} ${mtimeMs}`;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Moves the dead lock aside. If another was quicker and what moved is a new lock, it is left to its holder's check at the end. */
async function clearStale(path: string, sign: string): Promise<void> {
  if ((await signOfLife(path)) !== sign) return;
  const aside = `${path}.${randomBytes(6).toString('hex')}.stale`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (!isMissing(error)) throw error;
    return;
  }
  await rm(aside, { force: true });
}
