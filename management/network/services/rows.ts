import type { Secret } from '../../../protocol/schema.ts';
import type { ZoneRow } from '../../infra/index.ts';
import type { GuestMetadataRow, NetworkRow } from '../entities.ts';

/** What the compile functions see: rows of one network, nothing else. */
export interface RouterRows {
  readonly network: NetworkRow;
  readonly zone: ZoneRow;
  readonly egressDefault: 'allow' | 'deny';
  /** The router's own public address. */
  readonly publicAddress: string | null;
  readonly guests: readonly {
    readonly mac: string;
    readonly address: string;
    readonly isDefault: boolean;
    readonly about: GuestMetadataRow;
    readonly password: Secret | null;
  }[];
}
