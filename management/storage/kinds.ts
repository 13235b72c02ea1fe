/** Things of this area that parameters can name. */
import type { Id } from '../../protocol/schema.ts';
import { entityKind } from '../core/params.ts';
import { type StoragePoolRow, storagePools, type VolumeRow, volumes } from './entities.ts';

export const storagePoolKind = entityKind<StoragePoolRow>({
  noun: 'storage pool',
  find: (tx, id) => tx.findOneBy(storagePools, { id: id as Id<'storagePool'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
});

export const volumeKind = entityKind<VolumeRow>({
  noun: 'volume',
  find: (tx, id) => tx.findOneBy(volumes, { id: id as Id<'volume'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: (row) => row,
});

/** As much of a machine as a list of volumes needs; machines themselves are an area further up. */
export interface MachineOwned {
  readonly id: string;
  readonly accountId: string;
  readonly domainId: string;
  readonly removedAt: Date | null;
}
export const volumeMachineKind = entityKind<MachineOwned>({
  noun: 'virtual machine',
  find: async (tx, id) => {
    const [row] = await tx.query(
      'SELECT id, account_id AS accountId, domain_id AS domainId, removed_at AS removedAt FROM machine WHERE id = ?',
      [id],
    );
    return row ?? null;
  },
  removed: ({ removedAt }) => removedAt !== null,
  owner: (row) => row,
});
