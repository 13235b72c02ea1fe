/** A store that is a folder of this machine, or one that something else has mounted there. */
import { access, constants, mkdir } from 'node:fs/promises';
import { CloudError } from '../../protocol/errors.ts';
import type { StoreProvider } from './store.ts';

export const directoryStore: StoreProvider = {
  open: async ({ path }) => {
    try {
      await mkdir(path, { recursive: true });
      await access(path, constants.R_OK | constants.W_OK);
      return path;
    } catch (cause) {
      throw new CloudError('Unreachable', `the secondary storage folder ${path} cannot be used`, { cause });
    }
  },
  close: async () => undefined,
};
