/** A store on an NFS server, mounted by the kernel. The route to the server decides the NIC: that of the storage network, if there is one. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';
import type { StoreSpec } from '../../protocol/messages/image.ts';
import type { StorePlace, StoreProvider } from './store.ts';

/** `softerr` gives up with an error instead of hanging for ever when the server is gone: 4 tries of 10 s. */
const COMMON_OPTIONS = ['rw', 'softerr', 'timeo=100', 'retrans=4', 'noatime', 'nosuid', 'nodev', 'noexec', 'retry=0'];
const MOUNT_TIMEOUT_SECONDS = 60;

/** The mount command's arguments. Server and path were checked by their schema: neither can hold a space, a comma or a dash at its start. */
export function mountArguments(spec: StoreSpec, target: string): string[] {
  if (spec.server === null) throw new CloudError('InvalidParameter', 'an NFS store needs a server');
  const version = spec.nfsVersion ?? '4.1';
  // Version 3 would need a lock daemon of its own here; nothing here locks.
  const options = [...COMMON_OPTIONS, `vers=${version}`, ...(version === '3' ? ['nolock'] : [])];
  return ['-t', version === '3' ? 'nfs' : 'nfs4', '-o', options.join(','), '--', sourceOf(spec), target];
}

const sourceOf = ({ server, path }: StoreSpec): string => `${server}:${path}`;
const targetOf = ({ id }: StoreSpec, { mountFolder }: StorePlace): string => join(mountFolder, id);

/** What is mounted at `target` according to the kernel's table, or null. */
export function mountedSource(mounts: string, target: string): string | null {
  const rows = mounts.split('\n').flatMap((line) => {
    const [source, place] = line.split(' ');
    return place === target && source !== undefined ? [source] : [];
  });
  return rows.at(-1) ?? null;
}
const withoutSlash = (source: string): string => source.replace(/(?<=.)\/+$/, '');

const reasonOf = (error: unknown): string => {
  const text = error instanceof Error ? error.message : '';
  if (/timed out|SIGKILL|No route|unreachable/i.test(text)) return 'it does not answer';
  if (/Connection refused/i.test(text)) return 'it refuses the connection';
  if (/access denied|permitted/i.test(text)) return 'it denies access';
  if (/No such file/i.test(text)) return 'it has no such path';
  if (/not supported/i.test(text)) return 'it does not speak this NFS version';
  return 'mounting failed';
};

export const nfsStore: StoreProvider = {
  open: async (spec, place) => {
    const target = targetOf(spec, place);
    const present = mountedSource(await readFile('/proc/mounts', 'utf8'), target);
    if (present !== null && withoutSlash(present) === withoutSlash(sourceOf(spec))) return target;
    // Lazily: the old server may be the very one that no longer answers.
    if (present !== null) await place.run('umount', ['-l', '--', target], { timeoutSeconds: 30 });
    await mkdir(target, { recursive: true });
    try {
      await place.run('mount', mountArguments(spec, target), { timeoutSeconds: MOUNT_TIMEOUT_SECONDS });
    } catch (cause) {
      throw new CloudError('Unreachable', `the secondary storage ${sourceOf(spec)} cannot be mounted: ${reasonOf(cause)}`, { cause });
    }
    return target;
  },
  close: async (spec, place) => {
    const target = targetOf(spec, place);
    if (mountedSource(await readFile('/proc/mounts', 'utf8'), target) === null) return;
    await place.run('umount', ['-l', '--', target], { timeoutSeconds: 30 });
  },
};
