/** The kinds of secondary stores, and those that are open now. */
import { statfs } from 'node:fs/promises';
import { CloudError } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/log.ts';
import type { StoreSpec } from '../../protocol/messages/image.ts';
import type { Id } from '../../protocol/schema.ts';
import { directoryStore } from './directory.ts';
import { nfsStore } from './nfs.ts';
import type { StorePlace, StoreProvider } from './store.ts';

export const storeProviders = { NFS: nfsStore, Directory: directoryStore } satisfies Record<StoreSpec['provider'], StoreProvider>;

export interface Stores {
  /** Makes these the stores. One that cannot be opened now is tried again when it is used. */
  readonly apply: (specs: readonly StoreSpec[]) => Promise<void>;
  /** Where a store's files are; opens it if need be. */
  readonly folder: (storeId: Id<'imageStore'>) => Promise<string>;
  /** Folders that are open now, without trying any other. */
  readonly openFolders: () => readonly string[];
  readonly close: () => Promise<void>;
}

interface Row {
  readonly spec: StoreSpec;
  folder: string | null;
  opening: Promise<string> | null;
}

export function openStores(place: StorePlace, log: Log): Stores {
  const rows = new Map<string, Row>();

  const open = (row: Row): Promise<string> => {
    // Everybody who wants the store waits for the one attempt.
    row.opening ??= storeProviders[row.spec.provider].open(row.spec, place).then(
      (folder) => {
        row.folder = folder;
        row.opening = null;
        return folder;
      },
      (error: unknown) => {
        row.opening = null;
        throw error;
      },
    );
    return row.opening;
  };
  const close = async (row: Row): Promise<void> => {
    rows.delete(row.spec.id);
    await storeProviders[row.spec.provider].close(row.spec, place).catch((error: unknown) => {
      log.warn({ err: error, storeId: row.spec.id }, 'a store could not be let go of');
    });
  };
  const same = (one: StoreSpec, other: StoreSpec): boolean => JSON.stringify(one) === JSON.stringify(other);

  return {
    apply: async (specs) => {
      const gone = [...rows.values()].filter(({ spec }) => !specs.some((wanted) => same(wanted, spec)));
      await Promise.all(gone.map(close));
      for (const spec of specs) if (!rows.has(spec.id)) rows.set(spec.id, { spec, folder: null, opening: null });
      await Promise.all(
        [...rows.values()].map((row) =>
          open(row).catch((error: unknown) => log.error({ err: error, storeId: row.spec.id }, 'a store cannot be opened')),
        ),
      );
    },
    folder: async (storeId) => {
      const row = rows.get(storeId);
      if (row === undefined) throw new CloudError('NotFound', 'this secondary storage VM was not told of that store', { storeId });
      return row.folder ?? open(row);
    },
    openFolders: () => [...rows.values()].flatMap(({ folder }) => folder ?? []),
    close: async () => {
      await Promise.all([...rows.values()].map(close));
    },
  };
}

export async function measureFolder(folder: string): Promise<{ totalBytes: number; usedBytes: number; freeBytes: number }> {
  try {
    const { bsize, blocks, bfree, bavail } = await statfs(folder);
    return { totalBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize, freeBytes: bavail * bsize };
  } catch (cause) {
    throw new CloudError('Unreachable', 'the secondary storage does not answer', { cause });
  }
}
