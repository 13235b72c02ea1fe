/** The agent's own files. Everything is written beside its place, synced, and moved there, so a power cut leaves the old or the new. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Schema } from '../protocol/schema.ts';
import { parseJson } from './json.ts';

export const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
export const isTaken = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'EEXIST';

export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    },
  );

/** Size in bytes, or null when there is no such file. */
export const sizeOf = (path: string): Promise<number | null> =>
  stat(path).then(
    ({ size }) => size,
    (error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    },
  );

export async function writeAtomic(path: string, bytes: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A value that outlives the agent. */
export interface StateFile<T> {
  /** Null when it was never written, or no longer fits its shape: then management will send it again. */
  read(): Promise<T | null>;
  write(value: T): Promise<void>;
}
export function stateFile<T>(path: string, schema: Schema<T>): StateFile<T> {
  return {
    read: async () => {
      try {
        return parseJson(schema, await readFile(path, 'utf8'), path);
      } catch {
        return null;
      }
    },
    write: async (value) => {
      await mkdir(dirname(path), { recursive: true });
      await writeAtomic(path, JSON.stringify(value));
    },
  };
}
