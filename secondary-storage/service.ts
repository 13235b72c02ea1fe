/** What a secondary storage VM does when management asks. It keeps no policy: which image, from where and how large is in the message. */
import { CloudError } from '../protocol/errors.ts';
import { newId } from '../protocol/ids.ts';
import type { Log } from '../protocol/log.ts';
import { type Handler, type Message, on } from '../protocol/message.ts';
import type { Beat } from '../protocol/messages/beat.ts';
import {
  ApplySecondaryStorage,
  DownloadImage,
  MeasureStore,
  RemoveStoredImage,
  type SecondaryStorageConfiguration,
} from '../protocol/messages/image.ts';
import type { Id } from '../protocol/schema.ts';
import type { Lookup, SourceOptions } from './download/source.ts';
import { type ImageOrder, KEEP, makeImage, type Phase } from './image-making.ts';
import { readStoredImage, removeStoredImage, type StoredImage, sweepParts } from './stored-image.ts';
import { measureFolder, openStores, type Stores } from './stores/index.ts';
import type { Run } from './stores/store.ts';
import { turns } from './turns.ts';

export interface SecondaryStorageOptions {
  readonly log: Log;
  /** Says that a download began, went on or ended. */
  readonly ring: () => void;
  readonly mountFolder: string;
  readonly run: Run;
  readonly networkReady?: Promise<void>;
  readonly lookup?: Lookup;
  readonly certificateAuthorities?: readonly string[];
  readonly delaysSeconds?: readonly number[];
}
export interface SecondaryStorage {
  readonly handlers: readonly Handler[];
  readonly beat: () => Promise<Beat>;
  readonly stores: Stores;
  readonly isRemovedHost: (id: string) => boolean;
  readonly close: () => Promise<void>;
}

interface Running {
  readonly done: Promise<StoredImage>;
  readonly abort: AbortController;
  readonly imageId: Id<'template'>;
  phase: Phase;
  receivedBytes: number;
  totalBytes: number | null;
}

const PARTS_KEPT_MS = 7 * 24 * 3600 * 1000;
const RING_MS = 1000;
const CONVERSIONS_MAX = 1;

export function openSecondaryStorage(options: SecondaryStorageOptions): SecondaryStorage {
  const { log, networkReady = Promise.resolve() } = options;
  /** Of this process: a successor has another one. */
  const owner = newId('secondaryStorage');
  let configuration: SecondaryStorageConfiguration = {
    generation: 0,
    stores: [],
    allowedInternalCidrs: [],
    ownCidrs: [],
    proxyUrl: null,
    downloadsMax: 1,
    removedHostIds: [],
  };
  let removedHosts: ReadonlySet<string> = new Set();
  const stores = openStores({ mountFolder: options.mountFolder, run: options.run }, log);
  const running = new Map<string, Running>();
  const downloadTurn = turns(() => configuration.downloadsMax);
  const conversionTurn = turns(() => CONVERSIONS_MAX);
  let activeCommands = 0;

  let rungAt = 0;
  let ringLater: NodeJS.Timeout | null = null;
  /** At most once a second, and never forgets the last one. */
  const ring = (): void => {
    if (ringLater !== null) return;
    const waitMs = Math.max(0, rungAt + RING_MS - Date.now());
    ringLater = setTimeout(() => {
      ringLater = null;
      rungAt = Date.now();
      options.ring();
    }, waitMs);
    ringLater.unref();
  };

  const sourceOptions = (): SourceOptions => ({
    rules: configuration,
    proxyUrl: configuration.proxyUrl,
    ...(options.lookup ? { lookup: options.lookup } : {}),
    ...(options.certificateAuthorities ? { certificateAuthorities: options.certificateAuthorities } : {}),
  });

  const start = (key: string, order: ImageOrder, store: string): Running => {
    const abort = new AbortController();
    const { signal } = abort;
    const work = async (): Promise<StoredImage> => {
      const startedAt = Date.now();
      const { imageId } = order;
      try {
        const image = await downloadTurn(
          () =>
            makeImage(order, {
              store,
              source: sourceOptions(),
              signal,
              owner,
              onPhase: (phase) => {
                state.phase = phase;
                ring();
              },
              onProgress: (receivedBytes, totalBytes) => {
                state.receivedBytes = receivedBytes;
                state.totalBytes = totalBytes;
              },
              turnToConvert: (convert) => conversionTurn(convert, signal),
              ...(options.delaysSeconds ? { delaysSeconds: options.delaysSeconds } : {}),
            }),
          signal,
        );
        log.info({ imageId, sizeBytes: image.sizeBytes, seconds: (Date.now() - startedAt) / 1000 }, 'image is ready');
        return image;
      } catch (error) {
        log.warn({ err: error, imageId }, 'image was not made');
        throw error;
      } finally {
        running.delete(key);
        ring();
      }
    };
    const state: Running = {
      // The work begins when this object is complete.
      done: Promise.resolve().then(work),
      abort,
      imageId: order.imageId,
      phase: 'downloading',
      receivedBytes: 0,
      totalBytes: null,
    };
    running.set(key, state);
    return state;
  };

  const keyOf = ({ storeId, imageId }: { storeId: string; imageId: string }): string => `${storeId}/${imageId}`;

  const download = async (order: ImageOrder): Promise<StoredImage> => {
    const key = keyOf(order);
    const before = running.get(key);
    if (before !== undefined) return before.done;
    const store = await stores.folder(order.storeId);
    const stored = await readStoredImage(store, order.imageId);
    if (stored !== null) return stored;
    // Somebody else may have begun while the store was looked at.
    return (running.get(key) ?? start(key, order, store)).done;
  };

  const remove = async (storeId: Id<'imageStore'>, imageId: Id<'template'>): Promise<void> => {
    const going = running.get(keyOf({ storeId, imageId }));
    if (going !== undefined) {
      going.abort.abort(new CloudError('Conflict', 'the image was removed while it was being downloaded'));
      await going.done.catch(() => undefined);
    }
    await removeStoredImage(await stores.folder(storeId), imageId);
  };

  const apply = async (wanted: SecondaryStorageConfiguration): Promise<number> => {
    if (wanted.generation < configuration.generation) return configuration.generation;
    if (wanted.proxyUrl !== null && (!URL.canParse(wanted.proxyUrl) || new URL(wanted.proxyUrl).protocol !== 'http:'))
      throw new CloudError('InvalidParameter', 'the proxy for downloads must be an http URL');
    configuration = wanted;
    removedHosts = new Set(wanted.removedHostIds);
    await networkReady;
    await stores.apply(wanted.stores);
    const isRunning = (imageId: string): boolean => [...running.values()].some((one) => one.imageId === imageId);
    for (const folder of stores.openFolders())
      sweepParts(folder, isRunning, PARTS_KEPT_MS).catch((error: unknown) => log.warn({ err: error }, 'old parts could not be swept'));
    return configuration.generation;
  };

  /** Counts what is being done, for the number of secondary storage VMs follows it. */
  const counted = <Q, A>(definition: Message<Q, A>, handle: (ask: Q) => Promise<A>): Handler =>
    on(definition, async (ask) => {
      activeCommands += 1;
      try {
        return await handle(ask);
      } finally {
        activeCommands -= 1;
      }
    });

  let applying: Promise<unknown> = Promise.resolve();
  const handlers = [
    on(ApplySecondaryStorage, async (wanted) => {
      const done = applying.then(() => apply(wanted));
      applying = done.catch(() => undefined);
      return { generation: await done };
    }),
    counted(DownloadImage, async (order) => {
      const { downloadedBytes, sizeBytes, virtualSizeBytes, sha256, checksum } = await download(order);
      return { downloadedBytes, sizeBytes, virtualSizeBytes, sha256, checksum };
    }),
    counted(RemoveStoredImage, async ({ storeId, imageId }) => {
      await remove(storeId, imageId);
      return {};
    }),
    counted(MeasureStore, async ({ storeId }) => {
      const { totalBytes, usedBytes } = await measureFolder(await stores.folder(storeId));
      return { totalBytes, usedBytes };
    }),
  ];

  return {
    handlers,
    stores,
    isRemovedHost: (id) => removedHosts.has(id),
    beat: async () => ({
      secondaryStorage: {
        activeCommands,
        downloads: [...running.values()].map(({ imageId, receivedBytes, totalBytes, phase }) => ({
          imageId,
          receivedBytes,
          totalBytes,
          phase,
        })),
      },
    }),
    close: async () => {
      const going = [...running.values()];
      for (const { abort } of going) abort.abort(KEEP);
      await Promise.allSettled(going.map(({ done }) => done));
      if (ringLater !== null) clearTimeout(ringLater);
      await stores.close();
    },
  };
}
