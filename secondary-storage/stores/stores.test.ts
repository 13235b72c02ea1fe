import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { createLog } from '../../protocol/log.ts';
import type { StoreSpec } from '../../protocol/messages/image.ts';
import { measureFolder, openStores } from './index.ts';
import { mountArguments, mountedSource } from './nfs.ts';

const log = createLog('stores', { level: 'silent' });
const nfs = (over: Partial<StoreSpec> = {}): StoreSpec => ({
  id: newId('imageStore'),
  provider: 'NFS',
  server: '198.18.0.5',
  path: '/export/secondary',
  nfsVersion: '4.1',
  ...over,
});
async function temporary(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-stores-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test('an NFS store is mounted so that a dead server gives errors, and nothing on it can be run', () => {
  const [, type, , options, , source, target] = mountArguments(nfs(), '/run/stores/x');
  assert.deepEqual([type, source, target], ['nfs4', '198.18.0.5:/export/secondary', '/run/stores/x']);
  const list = options?.split(',') ?? [];
  for (const wanted of ['softerr', 'vers=4.1', 'nosuid', 'nodev', 'noexec']) assert.ok(list.includes(wanted), wanted);
  assert.ok(!list.some((option) => option.startsWith('hard')));
  const third = mountArguments(nfs({ nfsVersion: '3' }), '/x');
  assert.equal(third[1], 'nfs');
  assert.match(third[3] ?? '', /vers=3,nolock/);
  assert.throws(() => mountArguments(nfs({ server: null }), '/x'), /needs a server/);
});

test("the kernel's table tells what is mounted, the last one on top", () => {
  const mounts = 'proc /proc proc rw 0 0\n198.18.0.5:/a /run/s nfs4 rw 0 0\n198.18.0.6:/b /run/s nfs4 rw 0 0\n';
  assert.equal(mountedSource(mounts, '/run/s'), '198.18.0.6:/b');
  assert.equal(mountedSource(mounts, '/run'), null);
});

test('SS-09 a store that cannot be mounted says why, hinders no other, and is tried again when used', async (context) => {
  const folder = await temporary(context);
  const [broken, working]: StoreSpec[] = [
    nfs(),
    { ...nfs(), provider: 'Directory', server: null, path: join(folder, 'images'), nfsVersion: null },
  ];
  assert.ok(broken !== undefined && working !== undefined);
  let complaint: string | null = 'mount failed: mount.nfs4: Connection timed out for 198.18.0.5:/export/secondary';
  const calls: string[] = [];
  const stores = openStores(
    {
      mountFolder: join(folder, 'mounts'),
      run: async (command, commandArguments) => {
        calls.push([command, ...commandArguments].join(' '));
        if (complaint !== null) throw new CloudError('Internal', complaint);
        return '';
      },
    },
    log,
  );
  await stores.apply([broken, working]);
  assert.deepEqual(stores.openFolders(), [working.path]);
  assert.equal(await stores.folder(working.id), working.path);
  const fails = (expected: RegExp): Promise<void> =>
    assert.rejects(
      stores.folder(broken.id),
      (error) => error instanceof CloudError && error.code === 'Unreachable' && expected.test(error.message),
    );
  await fails(/198\.18\.0\.5:\/export\/secondary cannot be mounted: it does not answer/);
  complaint = 'mount failed: mount.nfs4: access denied by server while mounting 198.18.0.5:/export/secondary';
  await fails(/it denies access/);
  complaint = 'mount failed: mount.nfs4: mounting 198.18.0.5:/export/secondary failed, reason given by server: No such file or directory';
  await fails(/it has no such path/);
  complaint = null;
  assert.equal(await stores.folder(broken.id), join(folder, 'mounts', broken.id));
  const before = calls.length;
  await Promise.all([stores.folder(broken.id), stores.folder(broken.id), stores.apply([broken, working])]);
  assert.ok(calls.length <= before + 1);
  await assert.rejects(stores.folder(newId('imageStore')), /was not told of that store/);
  await stores.apply([working]);
  await assert.rejects(stores.folder(broken.id), /was not told of that store/);
});

test('a store can be measured', async (context) => {
  const folder = await temporary(context);
  const { totalBytes, usedBytes, freeBytes } = await measureFolder(folder);
  assert.ok(totalBytes > 0 && usedBytes > 0 && freeBytes > 0 && usedBytes < totalBytes);
  await assert.rejects(measureFolder(join(folder, 'absent')), /does not answer/);
});
