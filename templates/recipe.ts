/** A built template is kept under the hash of its recipe, and a build either is there as a whole or not at all. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Plain data; two recipes that differ in anything have different hashes. */
export type RecipeValue = string | number | boolean | null | readonly RecipeValue[] | { readonly [key: string]: RecipeValue };

const ordered = (value: RecipeValue): RecipeValue => {
  if (value === null || typeof value !== 'object') return value;
  if (isList(value)) return value.map(ordered);
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, ordered(inner)]),
  );
};
const isList = (value: RecipeValue): value is readonly RecipeValue[] => Array.isArray(value);

export const recipeHash = (recipe: RecipeValue): string =>
  createHash('sha256')
    .update(JSON.stringify(ordered(recipe)))
    .digest('hex')
    .slice(0, 16);

const PART_PREFIX = '.building-';

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Removes what builds that were killed have left behind. */
async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const pid = name.startsWith(PART_PREFIX) ? Number(name.slice(PART_PREFIX.length).split('-')[0]) : Number.NaN;
    if (Number.isInteger(pid) && !isRunning(pid)) {
      await rm(join(folder, name), { recursive: true, force: true });
    }
  }
}

/** The directory `folder/hash`; made by `build` in a directory beside it when it is not there yet. */
export async function builtOnce(folder: string, hash: string, build: (directory: string) => Promise<void>): Promise<string> {
  const finished = join(folder, hash);
  const isFinished = async (): Promise<boolean> => (await stat(finished).catch(() => null)) !== null;
  if (await isFinished()) return finished;
  await mkdir(folder, { recursive: true });
  await removeAbandoned(folder);
  const part = join(folder, `${PART_PREFIX}${process.pid}-${hash}`);
  await mkdir(part);
  try {
    await build(part);
    // Another process may have built the same meanwhile; its result is as good as ours.
    await rename(part, finished).catch(async (error) => {
      if (!(await isFinished())) throw error;
    });
  } finally {
    await rm(part, { recursive: true, force: true });
  }
  return finished;
}
