/** A directory that the operator has mounted at the same path on every host of a cluster. */
import { stat } from 'node:fs/promises';
import { CloudError } from '../../../protocol/errors.ts';
import type { PoolDriver } from '../pool-driver.ts';

export const sharedMountPoint = (): PoolDriver => ({
  open: async ({ path }) => {
    const found = await stat(path).catch(() => null);
    // Making it would write into the host's own disk where the mount is missing, and each host would have a pool of its own.
    if (!found?.isDirectory()) throw new CloudError('ResourceUnavailable', `${path} is not there on this host`, { path });
    return path;
  },
  close: async () => {},
});
