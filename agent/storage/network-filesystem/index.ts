/** An NFS export, mounted below the agent's own directory. */
import { mkdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../../../protocol/errors.ts';
import type { PoolSpec } from '../../../protocol/messages/storage.ts';
import { attempt, run } from '../../processes.ts';
import type { PoolDriver, PoolDriverOptions } from '../pool-driver.ts';

const MOUNT_SECONDS = 60;

export const networkFilesystem = ({ stateDirectory }: PoolDriverOptions): PoolDriver => {
  const mountPoint = ({ id }: PoolSpec): string => join(stateDirectory, 'mnt', id);
  return {
    open: async (pool) => {
      if (pool.server === null) throw new CloudError('InvalidParameter', 'an NFS pool needs its server');
      const directory = mountPoint(pool);
      const source = `${pool.server}:${pool.path}`;
      const mounted = await mountedAt(directory);
      if (mounted === source) return directory;
      if (mounted !== null) throw new CloudError('Conflict', 'another export is mounted where this pool should be', { mounted, source });
      if (!(await kernelHasNfs())) throw new CloudError('ResourceUnavailable', "this host's kernel has no NFS client");
      await mkdir(directory, { recursive: true, mode: 0o755 });
      const { code, stderr } = await attempt('mount', ['-t', 'nfs', '-o', 'nosuid,nodev,noexec,hard', '--', source, directory], {
        timeoutSeconds: MOUNT_SECONDS,
      });
      if (code !== 0) throw new CloudError('Unreachable', `the export ${source} cannot be mounted on this host`, { stderr });
      return directory;
    },
    close: async (pool) => {
      const directory = mountPoint(pool);
      if ((await mountedAt(directory)) !== null) {
        await run('unmount the storage pool', 'umount', ['--', directory], { timeoutSeconds: MOUNT_SECONDS });
      }
      await rmdir(directory).catch(() => {});
    },
  };
};

/** The source mounted there, or null. The kernel writes blanks and the like as octal escapes; ours have none. */
export async function mountedAt(directory: string): Promise<string | null> {
  const table = await readFile('/proc/self/mounts', 'utf8');
  const line = table.split('\n').findLast((entry) => entry.split(' ')[1] === directory);
  return line?.split(' ')[0] ?? null;
}

export async function kernelHasNfs(): Promise<boolean> {
  const known = async (): Promise<boolean> => /\tnfs4?$/m.test(await readFile('/proc/filesystems', 'utf8'));
  if (await known()) return true;
  const { code } = await attempt('modprobe', ['nfs'], { timeoutSeconds: 10 });
  return code === 0 && (await known());
}
