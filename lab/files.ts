import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { ZodType } from 'zod';
import { CloudError } from '../protocol/errors.ts';

const hasCode = (error: unknown, code: string): boolean => error instanceof Error && 'code' in error && error.code === code;
export const isMissing = (error: unknown): boolean => hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR');
export const isExisting = (error: unknown): boolean => hasCode(error, 'EEXIST');

export const exists = async (path: string): Promise<boolean> => {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
};

export const readTextIfAny = async (path: string): Promise<string | null> => {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (isMissing(cause)) return null;
    throw new CloudError('Internal', `${path} cannot be read`, { cause });
  }
};

/** Readers see the old text or the new one, never a part, also after a crash. The mode holds from the first byte on. */
export const writeTextWhole = async (path: string, text: string, mode = 0o644, owner: number | null = null): Promise<void> => {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`;
  const file = await open(temporary, 'wx', mode);
  try {
    // The process's umask may have taken rights away that the reader needs.
    await file.chmod(mode);
    if (owner !== null) await file.chown(owner, owner);
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new CloudError('Internal', `${path} cannot be written`, { cause });
  }
};

/** Null when there is no such file or it does not hold what it should: the caller then makes it anew. */
export const readJsonIfAny = async <T>(path: string, schema: ZodType<T>): Promise<T | null> => {
  const text = await readTextIfAny(path);
  if (text === null) return null;
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
};

export const writeJsonWhole = (path: string, value: unknown, mode = 0o644): Promise<void> =>
  writeTextWhole(path, `${JSON.stringify(value, null, 2)}\n`, mode);

/** Reads a secret, or makes it once. It stays in a file that only its owner can read. */
export const ensureSecret = async (path: string): Promise<string> => {
  const known = (await readTextIfAny(path))?.trim();
  if (known) return known;
  const secret = randomBytes(18).toString('base64url');
  await writeTextWhole(path, `${secret}\n`, 0o600);
  return secret;
};
