import { message } from '../message.ts';
import { type Infer, s } from '../schema.ts';

export const storagePoolTypes = ['SharedMountPoint', 'Filesystem', 'NetworkFilesystem'] as const;
export const PoolSpec = s.object({
  id: s.id('storagePool'),
  type: s.oneOf(...storagePoolTypes),
  /** Local directory (SharedMountPoint, Filesystem), or the export's path (NetworkFilesystem). */
  path: s.string({ min: 2, max: 1000, match: /^\/[A-Za-z0-9_./-]+$/ }),
  /** Server of a NetworkFilesystem. */
  server: s.nullable(s.hostName()),
});
export type PoolSpec = Infer<typeof PoolSpec>;
const usage = s.object({ totalBytes: s.int(), usedBytes: s.int() });

export const AttachPool = message({ name: 'pool.attach', ask: s.object({ pool: PoolSpec }), answer: usage, patience: 'normal' });
export const DetachPool = message({
  name: 'pool.detach',
  ask: s.object({ poolId: s.id('storagePool') }),
  answer: s.object({}),
  patience: 'normal',
});
export const MeasurePool = message({
  name: 'pool.measure',
  ask: s.object({ poolId: s.id('storagePool') }),
  answer: usage,
  patience: 'fast',
});

/**
 * Puts a template or ISO into a pool as a read-only file. Images come over mutual TLS, from a secondary storage VM or (the system VM
 * template) from a management server; both have been converted by us, so no user's header is ever opened here.
 */
export const EnsureImage = message({
  name: 'pool.ensureImage',
  ask: s.object({
    poolId: s.id('storagePool'),
    imageId: s.id('template'),
    url: s.string({ max: 2000 }),
    sha256: s.sha256(),
    format: s.oneOf('qcow2', 'iso'),
  }),
  answer: s.object({ sizeBytes: s.int(), virtualSizeBytes: s.int() }),
  patience: 'slow',
});
export const RemoveImage = message({
  name: 'pool.removeImage',
  ask: s.object({ poolId: s.id('storagePool'), imageId: s.id('template') }),
  answer: s.object({}),
  patience: 'normal',
});
/** A qcow2 file: an overlay on an image of the same pool, or empty. An existing volume of that id is kept as it is. */
export const CreateVolume = message({
  name: 'volume.create',
  ask: s.object({
    poolId: s.id('storagePool'),
    volumeId: s.id('volume'),
    sizeBytes: s.int({ min: 1 }),
    imageId: s.nullable(s.id('template')),
  }),
  answer: s.object({ sizeBytes: s.int() }),
  patience: 'normal',
});
export const RemoveVolume = message({
  name: 'volume.remove',
  ask: s.object({ poolId: s.id('storagePool'), volumeId: s.id('volume') }),
  answer: s.object({}),
  patience: 'normal',
});
export const ListPoolFiles = message({
  name: 'pool.list',
  ask: s.object({ poolId: s.id('storagePool') }),
  answer: s.object({ volumes: s.list(s.id('volume')), images: s.list(s.id('template')) }),
  patience: 'normal',
});
