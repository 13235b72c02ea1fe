/** A directory of this host alone. */
import { mkdir } from 'node:fs/promises';
import { CloudError } from '../../../protocol/errors.ts';
import type { PoolDriver } from '../pool-driver.ts';

export const filesystem = (): PoolDriver => ({
  open: async ({ path }) => {
    try {
      await mkdir(path, { recursive: true, mode: 0o755 });
    } catch (cause) {
      throw new CloudError('ResourceUnavailable', `${path} cannot be made on this host`, { cause });
    }
    return path;
  },
  close: async () => {},
});
