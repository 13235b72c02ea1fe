import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

/** Where one private service keeps its data and its socket. */
export interface ServicePlaces {
  readonly dataDirectory: string;
  readonly runDirectory: string;
}

/** The kernel's limit for the path of a unix socket is 108 bytes with the closing zero. */
const SOCKET_PATH_MAX = 107;
const LONGEST_SOCKET_NAME = '/mariadb/mariadb.sock';

/** A service that is not root can only work below folders that everybody may pass. */
export const isPassable = async (path: string): Promise<boolean> => {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => null);
    if (found !== null && (found.mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
};

/** Two checkouts on one machine must not meet in the same place. */
export const checkoutKey = (varDir: string): string => createHash('sha256').update(resolve(varDir)).digest('hex').slice(0, 10);

/**
 * Below the var directory, unless the checkout is closed to others (it stands in /root, say) or its path is too long for a socket. What then stands
 * elsewhere is named after the checkout, so it is found again and wiped.
 */
export const servicePlaces = async (varDir: string, asRoot: boolean): Promise<ServicePlaces> => {
  const open = !asRoot || (await isPassable(varDir));
  const runDirectory = join(resolve(varDir), 'run');
  return {
    dataDirectory: open ? resolve(varDir) : `/var/lib/nephos-${checkoutKey(varDir)}`,
    runDirectory:
      open && Buffer.byteLength(`${runDirectory}${LONGEST_SOCKET_NAME}`) <= SOCKET_PATH_MAX
        ? runDirectory
        : `/run/nephos-${checkoutKey(varDir)}`,
  };
};

/** A folder that one service owns, inside a folder that everybody may pass but only we may change. */
export const ensureServiceFolder = async (path: string, owner: number | null, mode: number): Promise<void> => {
  await mkdir(path, { recursive: true, mode });
  await chmod(path, mode);
  if (owner !== null) await chown(path, owner, owner);
};
