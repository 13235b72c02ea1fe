import type { PoolSpec } from '../../protocol/messages/storage.ts';

/** One kind of storage pool. Every kind ends in a directory on this host; what lies in it is the same for all. */
export interface PoolDriver {
  /** Makes the pool usable and answers its directory. Opening an open pool changes nothing. */
  open(pool: PoolSpec): Promise<string>;
  close(pool: PoolSpec): Promise<void>;
}
export interface PoolDriverOptions {
  readonly stateDirectory: string;
}
