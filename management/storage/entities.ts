import type { storagePoolTypes } from '../../protocol/messages/storage.ts';
import type { Id } from '../../protocol/schema.ts';
import type { StoragePoolState, VolumeState } from '../../protocol/states/storage.ts';
import type { ImageCopyState } from '../../protocol/states/template.ts';
import { column, table } from '../core/db.ts';

/** Primary storage: of one cluster, or of all hosts of a zone that have its hypervisor. */
export interface StoragePoolRow {
  id: Id<'storagePool'>;
  zoneId: Id<'zone'>;
  podId: Id<'pod'> | null;
  clusterId: Id<'cluster'> | null;
  name: string;
  type: (typeof storagePoolTypes)[number];
  scope: 'CLUSTER' | 'ZONE';
  server: string | null;
  path: string;
  hypervisor: string;
  state: StoragePoolState;
  generation: number;
  totalBytes: number;
  /** As the pool itself says. */
  usedBytes: number;
  /** Promised to volumes and image copies: their sizes, kept in the same transactions. */
  allocatedBytes: number;
  tags: string | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const storagePools = table<StoragePoolRow>(
  'storage_pool',
  {
    id: column.key(),
    zoneId: column.id(),
    podId: column.nullable(column.id()),
    clusterId: column.nullable(column.id()),
    name: column.string(),
    type: column.word(32),
    scope: column.word(16),
    server: column.nullable(column.string()),
    path: column.string(1000),
    hypervisor: column.word(32),
    state: column.word(32),
    generation: column.int(),
    totalBytes: column.bigint(),
    usedBytes: column.bigint(),
    allocatedBytes: column.bigint(),
    tags: column.nullable(column.string()),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  {
    indices: [
      ['clusterId', 'removedAt'],
      ['zoneId', 'removedAt'],
    ],
  },
);

export interface VolumeRow {
  id: Id<'volume'>;
  accountId: Id<'account'>;
  domainId: Id<'domain'>;
  zoneId: Id<'zone'>;
  poolId: Id<'storagePool'> | null;
  machineId: Id<'machine'> | null;
  templateId: Id<'template'> | null;
  diskOfferingId: Id<'diskOffering'> | null;
  serviceOfferingId: Id<'serviceOffering'> | null;
  name: string;
  type: 'ROOT' | 'DATADISK';
  sizeBytes: number;
  /** Position in its machine: 0 is the root disk. */
  device: number | null;
  state: VolumeState;
  generation: number;
  /** Hidden from lists of tenants: belongs to a system VM. */
  system: boolean;
  createdAt: Date;
  attachedAt: Date | null;
  removedAt: Date | null;
}
export const volumes = table<VolumeRow>(
  'volume',
  {
    id: column.key(),
    accountId: column.id(),
    domainId: column.id(),
    zoneId: column.id(),
    poolId: column.nullable(column.id()),
    machineId: column.nullable(column.id()),
    templateId: column.nullable(column.id()),
    diskOfferingId: column.nullable(column.id()),
    serviceOfferingId: column.nullable(column.id()),
    name: column.string(),
    type: column.word(16),
    sizeBytes: column.bigint(),
    device: column.nullable(column.int()),
    state: column.word(16),
    generation: column.int(),
    system: column.boolean(),
    createdAt: column.time(),
    attachedAt: column.nullable(column.time()),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['accountId', 'removedAt'], ['machineId'], ['poolId', 'state'], ['templateId']] },
);

/** A template's read-only file on a primary pool. */
export interface ImageCopyRow {
  id: Id<'imageCopy'>;
  poolId: Id<'storagePool'>;
  templateId: Id<'template'>;
  state: ImageCopyState;
  generation: number;
  sizeBytes: number;
  virtualSizeBytes: number;
  createdAt: Date;
}
export const imageCopies = table<ImageCopyRow>(
  'image_copy',
  {
    id: column.key(),
    poolId: column.id(),
    templateId: column.id(),
    state: column.word(16),
    generation: column.int(),
    sizeBytes: column.bigint(),
    virtualSizeBytes: column.bigint(),
    createdAt: column.time(),
  },
  { uniques: [['poolId', 'templateId']], indices: [['templateId']] },
);

/** A pool on a host that reaches it. */
export interface StoragePoolHostRow {
  poolId: Id<'storagePool'>;
  hostId: Id<'host'>;
  /** Why the host cannot use it; null when it can. */
  error: string | null;
  updatedAt: Date;
}
export const storagePoolHosts = table<StoragePoolHostRow>(
  'storage_pool_host',
  { poolId: column.key(), hostId: column.key(), error: column.nullable(column.string(1024)), updatedAt: column.time() },
  { indices: [['hostId']] },
);
export const storageTables = [storagePools, storagePoolHosts, volumes, imageCopies];
