/**
 * Files as a whole: written only when their content changes, and never seen half-written. They are small and lie in memory, so they are
 * read and written at once: on an emulated CPU the way through node's threads takes far longer than the work.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const isAbsent = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

export async function readFileOrNull(path: string): Promise<Buffer | null> {
  try {
    return readFileSync(path);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

/** Makes `path` hold exactly `content`, with `mode`; says whether anything had to change. */
export async function writeFileIfChanged(
  path: string,
  content: string | Buffer,
  { mode = 0o644 }: { mode?: number } = {},
): Promise<boolean> {
  const wanted = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
  const present = await readFileOrNull(path);
  if (present?.equals(wanted) && (statSync(path).mode & 0o777) === mode) return false;
  mkdirSync(dirname(path), { recursive: true });
  // The name starts with a dot: dnsmasq skips such files in the folders it watches, and renaming is what it notices.
  const temporary = `${dirname(path)}/.${path.slice(dirname(path).length + 1)}.new`;
  writeFileSync(temporary, wanted, { mode });
  renameSync(temporary, path);
  return true;
}

export async function removeFileIfPresent(path: string): Promise<boolean> {
  try {
    rmSync(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}
