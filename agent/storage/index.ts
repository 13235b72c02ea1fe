/** THE LIST of storage pool types. */
import type { PoolSpec } from '../../protocol/messages/storage.ts';
import { filesystem } from './filesystem/index.ts';
import { networkFilesystem } from './network-filesystem/index.ts';
import type { PoolDriver, PoolDriverOptions } from './pool-driver.ts';
import { sharedMountPoint } from './shared-mount-point/index.ts';

export const poolDrivers = {
  SharedMountPoint: sharedMountPoint,
  Filesystem: filesystem,
  NetworkFilesystem: networkFilesystem,
} satisfies Record<PoolSpec['type'], (options: PoolDriverOptions) => PoolDriver>;
