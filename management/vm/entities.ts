import type { Id } from '../../protocol/schema.ts';
import { column, table } from '../core/db.ts';

/** A guest as its user sees it; the machine itself is in `machine` (same id). */
export interface VmRow {
  id: Id<'machine'>;
  accountId: Id<'account'>;
  domainId: Id<'domain'>;
  userId: Id<'user'>;
  /** Host name in DNS and in the guest; one of a kind in its network. */
  name: string;
  displayName: string;
  group: string | null;
  osTypeId: Id<'osType'> | null;
  /** Base64 of the bytes. */
  userData: string | null;
  details: Record<string, string>;
  displayVm: boolean;
  deleteProtection: boolean;
  destroyedAt: Date | null;
  createdAt: Date;
  removedAt: Date | null;
}
export const vms = table<VmRow>(
  'vm',
  {
    id: column.key(),
    accountId: column.id(),
    domainId: column.id(),
    userId: column.id(),
    name: column.string(),
    displayName: column.string(),
    group: column.nullable(column.string()),
    osTypeId: column.nullable(column.id()),
    userData: column.nullable(column.text()),
    details: column.json(),
    displayVm: column.boolean(),
    deleteProtection: column.boolean(),
    destroyedAt: column.nullable(column.time()),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['accountId', 'removedAt'], ['name']] },
);

export interface SshKeyPairRow {
  id: Id<'sshKeyPair'>;
  accountId: Id<'account'>;
  domainId: Id<'domain'>;
  name: string;
  /** MD5 of the key as bytes in hexadecimal pairs, as clients expect. */
  fingerprint: string;
  publicKey: string;
  createdAt: Date;
  removedAt: Date | null;
}
export const sshKeyPairs = table<SshKeyPairRow>(
  'ssh_key_pair',
  {
    id: column.key(),
    accountId: column.id(),
    domainId: column.id(),
    name: column.string(),
    fingerprint: column.word(),
    publicKey: column.text(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['accountId', 'name']] },
);

/** Which keys a VM was given. */
export interface VmKeyRow {
  machineId: Id<'machine'>;
  name: string;
  publicKey: string;
}
export const vmKeys = table<VmKeyRow>('vm_key', {
  machineId: column.key(),
  name: column.primary(column.string()),
  publicKey: column.text(),
});

export interface ConsoleSessionRow {
  id: Id<'consoleSession'>;
  accountId: Id<'account'>;
  domainId: Id<'domain'>;
  userId: Id<'user'>;
  machineId: Id<'machine'>;
  hostId: Id<'host'>;
  /** Console proxy it was given to. */
  proxyId: Id<'machine'>;
  tokenSha256: string;
  state: 'Waiting' | 'Connected' | 'Ended' | 'Expired';
  clientAddress: string | null;
  createdAt: Date;
  expiresAt: Date;
  acquiredAt: Date | null;
  endedAt: Date | null;
}
export const consoleSessions = table<ConsoleSessionRow>(
  'console_session',
  {
    id: column.key(),
    accountId: column.id(),
    domainId: column.id(),
    userId: column.id(),
    machineId: column.id(),
    hostId: column.id(),
    proxyId: column.id(),
    tokenSha256: column.word(64),
    state: column.word(16),
    clientAddress: column.nullable(column.word()),
    createdAt: column.time(),
    expiresAt: column.time(),
    acquiredAt: column.nullable(column.time()),
    endedAt: column.nullable(column.time()),
  },
  { indices: [['proxyId', 'state'], ['machineId', 'state'], ['accountId']] },
);
export const vmTables = [vms, sshKeyPairs, vmKeys, consoleSessions];
