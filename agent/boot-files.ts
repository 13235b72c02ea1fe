/** Kernels, initial RAM disks and payload ISOs for direct kernel boot: kept by name, checked by hash. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../protocol/errors.ts';
import type { Fetch } from './fetch.ts';
import { exists } from './files.ts';
import type { BootFile, BootFileName } from './hypervisors/hypervisor.ts';
import { turns } from './turns.ts';

export interface BootFiles {
  ensure(files: readonly BootFile[], signal: AbortSignal): Promise<void>;
  /** Absolute path of a file that must be there. */
  path(name: BootFileName): Promise<string>;
  /** Removes what nobody asked for in a month. A machine that runs has its files open and does not need their names. */
  sweep(now?: number): Promise<void>;
}

const KEEP_MILLISECONDS = 30 * 24 * 3600 * 1000;

export function bootFiles(directory: string, fetch: Fetch): BootFiles {
  const inTurn = turns();
  // Hashing a kernel at every start of a machine would cost more than the start; a file is hashed once in an agent's life.
  const checked = new Map<string, string>();

  const isRight = async (path: string, { name, sha256 }: BootFile): Promise<boolean> => {
    if (!(await exists(path))) return false;
    if (checked.get(name) === sha256) return true;
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
    return hash.digest('hex') === sha256;
  };

  return {
    ensure: async (files, signal) => {
      await mkdir(directory, { recursive: true, mode: 0o711 });
      for (const file of files) {
        await inTurn.take(file.name, async () => {
          const path = join(directory, file.name);
          if (!(await isRight(path, file))) {
            checked.delete(file.name);
            const { url, sha256 } = file;
            await fetch({ url, sha256, path, partPath: join(directory, `.${file.name}.part`), mode: 0o444, signal });
          }
          checked.set(file.name, file.sha256);
          const now = new Date();
          await utimes(path, now, now);
        });
      }
    },
    path: async (name) => {
      const path = join(directory, name);
      if (!(await exists(path))) throw new CloudError('NotFound', 'the host does not have a file this machine boots from', { name });
      return path;
    },
    sweep: async (now = Date.now()) => {
      for (const name of await readdir(directory).catch(() => [])) {
        const path = join(directory, name);
        const { mtimeMs } = await stat(path);
        if (now - mtimeMs < KEEP_MILLISECONDS) continue;
        checked.delete(name);
        await rm(path, { force: true });
      }
    },
  };
}
