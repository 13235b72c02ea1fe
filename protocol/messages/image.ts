import { message } from '../message.ts';
import { type Infer, s } from '../schema.ts';

/** Enough for a year of a large cloud; the latest count. */
export const REMOVED_HOSTS_MAX = 10_000;

export const StoreSpec = s.object({
  id: s.id('imageStore'),
  provider: s.oneOf('NFS', 'Directory'),
  /** NFS server; null for a directory. */
  server: s.nullable(s.hostName()),
  path: s.string({ min: 2, max: 1000, match: /^\/[A-Za-z0-9_./-]*$/ }),
  nfsVersion: s.nullable(s.oneOf('3', '4', '4.1', '4.2')),
});
export type StoreSpec = Infer<typeof StoreSpec>;

/** The whole of what a secondary storage VM should be. */
export const SecondaryStorageConfiguration = s.object({
  generation: s.int(),
  stores: s.list(StoreSpec, { max: 64 }),
  /** Internal networks that downloads may reach all the same. */
  allowedInternalCidrs: s.list(s.cidr4(), { max: 256 }),
  /** Networks of the cloud itself, never to be reached by a user's URL unless allowed above. */
  ownCidrs: s.list(s.cidr4(), { max: 256 }),
  proxyUrl: s.nullable(s.string({ max: 1000 })),
  downloadsMax: s.int({ min: 1, max: 1000 }),
  /** Hosts that are none any more and still hold a certificate that has not run out: images are not for them. */
  removedHostIds: s.list(s.id('host'), { max: REMOVED_HOSTS_MAX }),
});
export type SecondaryStorageConfiguration = Infer<typeof SecondaryStorageConfiguration>;
export const ApplySecondaryStorage = message({
  name: 'secondaryStorage.apply',
  ask: SecondaryStorageConfiguration,
  answer: s.object({ generation: s.int() }),
  patience: 'normal',
});

export const imageFormats = ['QCOW2', 'RAW', 'VHD', 'VHDX', 'VMDK', 'OVA', 'ISO'] as const;

/**
 * Downloads, checks, inspects and converts an image into the store. Repeatable: a download in progress is joined, a broken one is
 * resumed, a finished one answers at once. The answer comes when the image is ready.
 */
export const DownloadImage = message({
  name: 'image.download',
  ask: s.object({
    storeId: s.id('imageStore'),
    imageId: s.id('template'),
    url: s.string({ max: 2048 }),
    format: s.oneOf(...imageFormats),
    /** `{ALGORITHM}hex`, or bare hexadecimal whose length tells the algorithm (MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512). */
    checksum: s.nullable(s.string({ max: 200 })),
    sizeBytesMax: s.int({ min: 1 }),
  }),
  answer: s.object({
    /** Of the file that was downloaded. */
    downloadedBytes: s.int(),
    /** Of our own file in the store. */
    sizeBytes: s.int(),
    virtualSizeBytes: s.int(),
    sha256: s.sha256(),
    /** Checksum of the downloaded bytes, as `{SHA-512}hex`. */
    checksum: s.string({ max: 200 }),
  }),
  patience: 'slow',
});
export const RemoveStoredImage = message({
  name: 'image.remove',
  ask: s.object({ storeId: s.id('imageStore'), imageId: s.id('template') }),
  answer: s.object({}),
  patience: 'normal',
});
export const MeasureStore = message({
  name: 'store.measure',
  ask: s.object({ storeId: s.id('imageStore') }),
  answer: s.object({ totalBytes: s.int(), usedBytes: s.int() }),
  patience: 'normal',
});
