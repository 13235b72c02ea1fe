import type { Id } from '../../protocol/schema.ts';
import type { DownloadState } from '../../protocol/states/template.ts';
import { column, table } from '../core/db.ts';

export interface OsTypeRow {
  id: Id<'osType'>;
  categoryId: string;
  categoryName: string;
  name: string;
  isUserDefined: boolean;
}
export const osTypes = table<OsTypeRow>('os_type', {
  id: column.key(),
  categoryId: column.id(),
  categoryName: column.string(),
  name: column.string(),
  isUserDefined: column.boolean(),
});

/** Templates and ISOs. */
export interface TemplateRow {
  id: Id<'template'>;
  accountId: Id<'account'>;
  domainId: Id<'domain'>;
  /** Null: in every zone, those to come too. Otherwise the first zone it was registered for; its stored images tell all of them. */
  zoneId: Id<'zone'> | null;
  name: string;
  displayText: string;
  kind: 'template' | 'iso';
  type: 'SYSTEM' | 'BUILTIN' | 'ROUTING' | 'USER';
  format: 'QCOW2' | 'RAW' | 'VHD' | 'VHDX' | 'VMDK' | 'OVA' | 'ISO';
  hypervisor: string | null;
  architecture: 'x86_64' | 'aarch64';
  osTypeId: Id<'osType'> | null;
  url: string | null;
  /** As given, and after the download as `{SHA-512}hex` of the downloaded bytes. */
  checksum: string | null;
  bootable: boolean;
  isPublic: boolean;
  isFeatured: boolean;
  isExtractable: boolean;
  passwordEnabled: boolean;
  sshKeyEnabled: boolean;
  dynamicallyScalable: boolean;
  requiresHvm: boolean;
  tag: string | null;
  details: Record<string, string>;
  state: 'Active' | 'Inactive';
  createdAt: Date;
  removedAt: Date | null;
}
export const templates = table<TemplateRow>(
  'template',
  {
    id: column.key(),
    accountId: column.id(),
    domainId: column.id(),
    zoneId: column.nullable(column.id()),
    name: column.string(),
    displayText: column.string(4096),
    kind: column.word(16),
    type: column.word(16),
    format: column.word(16),
    hypervisor: column.nullable(column.word(32)),
    architecture: column.word(16),
    osTypeId: column.nullable(column.id()),
    url: column.nullable(column.text()),
    checksum: column.nullable(column.word(200)),
    bootable: column.boolean(),
    isPublic: column.boolean(),
    isFeatured: column.boolean(),
    isExtractable: column.boolean(),
    passwordEnabled: column.boolean(),
    sshKeyEnabled: column.boolean(),
    dynamicallyScalable: column.boolean(),
    requiresHvm: column.boolean(),
    tag: column.nullable(column.string()),
    details: column.json(),
    state: column.word(16),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  {
    indices: [
      ['accountId', 'removedAt'],
      ['kind', 'isPublic', 'removedAt'],
    ],
  },
);

/** Secondary storage: where templates and ISOs rest. */
export interface ImageStoreRow {
  id: Id<'imageStore'>;
  zoneId: Id<'zone'>;
  name: string;
  provider: 'NFS' | 'Directory';
  url: string;
  server: string | null;
  path: string;
  readOnly: boolean;
  totalBytes: number | null;
  usedBytes: number | null;
  details: Record<string, string>;
  createdAt: Date;
  removedAt: Date | null;
}
export const imageStores = table<ImageStoreRow>(
  'image_store',
  {
    id: column.key(),
    zoneId: column.id(),
    name: column.string(),
    provider: column.word(32),
    url: column.string(1000),
    server: column.nullable(column.string()),
    path: column.string(1000),
    readOnly: column.boolean(),
    totalBytes: column.nullable(column.bigint()),
    usedBytes: column.nullable(column.bigint()),
    details: column.json(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['zoneId', 'removedAt']] },
);

/**
 * A template in a zone, on one of its secondary stores (`storeId` null: served by the management servers themselves, as the system VM
 * template is).
 */
export interface StoredImageRow {
  id: Id<'storedImage'>;
  templateId: Id<'template'>;
  zoneId: Id<'zone'>;
  storeId: Id<'imageStore'> | null;
  state: DownloadState;
  generation: number;
  percent: number;
  /** What went wrong, as said to the user. */
  error: string | null;
  /** Of our own file on the store. */
  sizeBytes: number | null;
  virtualSizeBytes: number | null;
  sha256: string | null;
  createdAt: Date;
  updatedAt: Date;
  removedAt: Date | null;
}
export const storedImages = table<StoredImageRow>(
  'stored_image',
  {
    id: column.key(),
    templateId: column.id(),
    zoneId: column.id(),
    storeId: column.nullable(column.id()),
    state: column.word(32),
    generation: column.int(),
    percent: column.int(),
    error: column.nullable(column.string(1024)),
    sizeBytes: column.nullable(column.bigint()),
    virtualSizeBytes: column.nullable(column.bigint()),
    sha256: column.nullable(column.word(64)),
    createdAt: column.time(),
    updatedAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  {
    indices: [
      ['templateId', 'zoneId'],
      ['zoneId', 'state'],
    ],
  },
);

/** An account that may use a template of another's. */
export interface TemplateGrantRow {
  templateId: Id<'template'>;
  accountId: Id<'account'>;
}
export const templateGrants = table<TemplateGrantRow>(
  'template_grant',
  { templateId: column.key(), accountId: column.key() },
  { indices: [['accountId']] },
);
export const templateTables = [osTypes, templates, imageStores, storedImages, templateGrants];
