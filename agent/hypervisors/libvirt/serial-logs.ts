/** What machines say on their serial consoles: one file each, bounded, read from its end. */
import { copyFile, mkdir, open, readdir, rename, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { type Id, isUuid } from '../../../protocol/schema.ts';
import { isMissing, sizeOf } from '../../files.ts';

export interface SerialLogs {
  path(id: Id<'machine'>): string;
  /** Before a start: an empty file, with the last run's kept beside it. */
  begin(id: Id<'machine'>): Promise<void>;
  tail(id: Id<'machine'>): Promise<string>;
  /** Machines of which there is a file. */
  machines(): Promise<Id<'machine'>[]>;
  remove(id: Id<'machine'>): Promise<void>;
  /** Bounds the files of running machines and removes those of machines long gone. */
  sweep(running: { has(id: string): boolean }, now?: number): Promise<void>;
}

/** virtlogd turns a log over at 2 MiB by itself; this bound is for hosts where libvirt writes without it. */
const BYTES_MAX = 4 * 1024 * 1024;
const TAIL_BYTES = 65_536;
const KEEP_MILLISECONDS = 7 * 24 * 3600 * 1000;

const NAME = /^(.+)\.log(?:\.\d)?$/;

export function serialLogs(directory: string): SerialLogs {
  const path = (id: Id<'machine'>): string => join(directory, `${id}.log`);
  const earlier = (id: Id<'machine'>): string => `${path(id)}.0`;
  return {
    path,
    begin: async (id) => {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await rename(path(id), earlier(id)).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    },
    tail: async (id) => {
      const now = await endOf(path(id), TAIL_BYTES);
      const before = now.length < TAIL_BYTES ? await endOf(earlier(id), TAIL_BYTES - now.length) : Buffer.alloc(0);
      return Buffer.concat([before, now]).toString('utf8');
    },
    machines: async () => {
      const ids = (await readdir(directory).catch(() => [])).map((name) => NAME.exec(name)?.[1]).filter(isMachineId);
      return [...new Set(ids)];
    },
    remove: async (id) => {
      for (const name of await readdir(directory).catch(() => []))
        if (NAME.exec(name)?.[1] === id) await rm(join(directory, name), { force: true });
    },
    sweep: async (running, now = Date.now()) => {
      for (const name of await readdir(directory).catch(() => [])) {
        const [, id] = NAME.exec(name) ?? [];
        if (!isMachineId(id)) continue;
        if (!running.has(id)) {
          const found = await stat(join(directory, name)).catch(() => null);
          if (found && now - found.mtimeMs > KEEP_MILLISECONDS) await rm(join(directory, name), { force: true });
        } else if (name.endsWith('.log') && ((await sizeOf(path(id))) ?? 0) > BYTES_MAX) {
          // The writer appends, so cutting the file to nothing makes it go on at the start.
          await copyFile(path(id), earlier(id));
          await truncate(path(id), 0);
        }
      }
    },
  };
}

const isMachineId = (value: string | undefined): value is Id<'machine'> => isUuid(value);

async function endOf(path: string, bytes: number): Promise<Buffer> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const length = Math.min(size, bytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error)) return Buffer.alloc(0);
    throw error;
  }
}
