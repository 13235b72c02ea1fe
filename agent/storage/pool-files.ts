/** What lies in a pool: `images/<id>.qcow2` or `.iso`, read-only, and `volumes/<id>.qcow2`. Names are made from checked ids alone. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, chown, link, mkdir, open, readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';
import { type Id, isUuid } from '../../protocol/schema.ts';
import type { Fetch } from '../fetch.ts';
import { exists, isTaken, sizeOf } from '../files.ts';
import type { ImageRequest, Usage, VolumeRequest } from '../hypervisors/hypervisor.ts';
import type { DiskFiles } from '../hypervisors/libvirt/domain-xml.ts';
import { run } from '../processes.ts';
import { readQcow2Header } from './qcow2.ts';
import { type LockTiming, withSharedLock } from './shared-lock.ts';

export interface PoolFilesOptions {
  readonly directory: string;
  /** Part files carry it, so that each host goes on with its own. */
  readonly hostId: string;
  readonly fetch: Fetch;
  /** Who volumes belong to: the account QEMU runs as. */
  readonly owner: { uid: number; gid: number } | null;
  readonly lockTiming?: LockTiming;
}

const IMAGE_EXTENSIONS = ['qcow2', 'iso'] as const;
const LEFTOVER_MILLISECONDS = 7 * 24 * 3600 * 1000;

export type PoolFiles = Awaited<ReturnType<typeof poolFiles>>;

export async function poolFiles({ directory, hostId, fetch, owner, lockTiming }: PoolFilesOptions) {
  const images = join(directory, 'images');
  const volumes = join(directory, 'volumes');
  try {
    await mkdir(images, { recursive: true, mode: 0o755 });
    await mkdir(volumes, { recursive: true, mode: 0o711 });
  } catch (cause) {
    throw new CloudError('ResourceUnavailable', 'the storage pool cannot be written to', { cause });
  }
  const cache = (await hasDirectAccess(volumes)) ? 'none' : 'writeback';
  await sweep([images, volumes]);

  const volumePath = (volumeId: Id<'volume'>): string => join(volumes, `${volumeId}.qcow2`);
  const imageNamed = (imageId: Id<'template'>, extension: (typeof IMAGE_EXTENSIONS)[number]): string =>
    join(images, `${imageId}.${extension}`);
  const imageSizes = async (path: string, format: 'qcow2' | 'iso') => {
    const sizeBytes = (await stat(path)).size;
    return { sizeBytes, virtualSizeBytes: format === 'iso' ? sizeBytes : (await readQcow2Header(path)).virtualSizeBytes };
  };

  return {
    measure: async (): Promise<Usage> => {
      const { blocks, bavail, bfree, bsize } = await statfs(directory);
      // What only root may still use does not count, neither as free nor as there.
      return { totalBytes: (blocks - bfree + bavail) * bsize, usedBytes: (blocks - bfree) * bsize };
    },

    ensureImage: async ({ imageId, url, sha256, format }: ImageRequest, signal: AbortSignal) => {
      const path = imageNamed(imageId, format);
      await withSharedLock(
        join(images, `${imageId}.lock`),
        {
          signal,
          done: () => exists(path),
          work: async () => {
            const arrived = join(images, `.${imageId}.${hostId}.whole`);
            await fetch({ url, sha256, path: arrived, partPath: join(images, `.${imageId}.${hostId}.part`), mode: 0o444, signal });
            try {
              if (format === 'qcow2' && (await readQcow2Header(arrived)).backing !== null) {
                throw new CloudError('ResourceUnavailable', 'the image refers to another file');
              }
              await publish(arrived, path);
            } finally {
              await rm(arrived, { force: true });
            }
          },
        },
        lockTiming,
      );
      return imageSizes(path, format);
    },

    removeImage: async (imageId: Id<'template'>): Promise<void> => {
      for (const name of await readdir(volumes)) {
        if (name.startsWith('.') || !name.endsWith('.qcow2')) continue;
        const header = await readQcow2Header(join(volumes, name)).catch(() => null);
        if (header?.backing === backingName(imageId)) throw new CloudError('InUse', 'a volume of this pool stands on the image', { name });
      }
      for (const extension of IMAGE_EXTENSIONS) await rm(imageNamed(imageId, extension), { force: true });
      await rm(join(images, `.${imageId}.${hostId}.part`), { force: true });
    },

    createVolume: async ({ volumeId, sizeBytes, imageId }: VolumeRequest): Promise<{ sizeBytes: number }> => {
      const path = volumePath(volumeId);
      if (!(await exists(path))) {
        const image = imageId === null ? null : imageNamed(imageId, 'qcow2');
        if (image !== null && !(await exists(image))) throw new CloudError('NotFound', 'the pool does not have this image', { imageId });
        const smallest = image === null ? 0 : (await readQcow2Header(image)).virtualSizeBytes;
        const temporary = join(volumes, `.${volumeId}.${randomBytes(6).toString('hex')}.new`);
        try {
          const backing = imageId === null ? [] : ['-b', backingName(imageId), '-F', 'qcow2'];
          await run('create the volume', 'qemu-img', [
            'create',
            '-q',
            '-f',
            'qcow2',
            ...backing,
            '--',
            temporary,
            String(Math.max(sizeBytes, smallest)),
          ]);
          await chmod(temporary, 0o600);
          if (owner) await chown(temporary, owner.uid, owner.gid);
          await publish(temporary, path);
        } finally {
          await rm(temporary, { force: true });
        }
      }
      return { sizeBytes: (await readQcow2Header(path)).virtualSizeBytes };
    },

    removeVolume: (volumeId: Id<'volume'>): Promise<void> => rm(volumePath(volumeId), { force: true }),

    list: async (): Promise<{ volumes: Id<'volume'>[]; images: Id<'template'>[] }> => ({
      volumes: (await readdir(volumes))
        .filter((name) => name.endsWith('.qcow2'))
        .map(stem)
        .filter(isId<'volume'>),
      images: (await readdir(images))
        .filter((name) => IMAGE_EXTENSIONS.some((extension) => name.endsWith(`.${extension}`)))
        .map(stem)
        .filter(isId<'template'>),
    }),

    volume: async (volumeId: Id<'volume'>): Promise<DiskFiles> => {
      const path = volumePath(volumeId);
      if (!(await exists(path))) throw new CloudError('NotFound', 'the pool does not have this volume', { volumeId });
      const { backing } = await readQcow2Header(path);
      if (backing === null) return { path, backingPath: null, cache };
      const imageId = /^\.\.\/images\/([0-9a-f-]{36})\.qcow2$/.exec(backing)?.[1];
      if (!isUuid(imageId)) throw new CloudError('ResourceUnavailable', 'the volume refers to a file outside its pool', { volumeId });
      return { path, backingPath: join(images, `${imageId}.qcow2`), cache };
    },

    iso: async (imageId: Id<'template'>): Promise<string> => {
      const path = imageNamed(imageId, 'iso');
      if ((await sizeOf(path)) === null) throw new CloudError('NotFound', 'the pool does not have this ISO', { imageId });
      return path;
    },
  };
}

/** Written as seen from the volume, so the pool may be mounted elsewhere one day. */
const backingName = (imageId: Id<'template'>): string => `../images/${imageId}.qcow2`;

const stem = (name: string): string => name.slice(0, name.lastIndexOf('.'));
const isId = <K extends string>(value: string): value is Id<K> => isUuid(value);

/** Gives a finished file its name unless the name is taken: what was there first stays. */
async function publish(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if (!isTaken(error)) throw error;
  }
}

/** Whether files here can be opened past the page cache; some file systems in memory or in user space refuse. */
async function hasDirectAccess(directory: string): Promise<boolean> {
  const path = join(directory, `.${randomBytes(6).toString('hex')}.probe`);
  try {
    const file = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR | constants.O_DIRECT, 0o600);
    await file.close();
    return true;
  } catch {
    return false;
  } finally {
    await rm(path, { force: true });
  }
}

/** Temporary files that a crash left behind begin with a dot; a week is longer than any transfer. */
async function sweep(directories: readonly string[]): Promise<void> {
  for (const directory of directories) {
    for (const name of await readdir(directory)) {
      if (!name.startsWith('.')) continue;
      const found = await stat(join(directory, name)).catch(() => null);
      if (found?.isFile() && Date.now() - found.mtimeMs > LEFTOVER_MILLISECONDS) await rm(join(directory, name), { force: true });
    }
  }
}
