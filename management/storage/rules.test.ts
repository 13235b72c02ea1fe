import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasTags, reaches, readPoolUrl, readStoreDetails, readStoreUrl, readTags } from './rules.ts';

test('the URL of a pool tells its type, server and path', () => {
  assert.deepEqual(readPoolUrl('nfs://storage.example.org/export/primary/'), {
    type: 'NetworkFilesystem',
    server: 'storage.example.org',
    path: '/export/primary',
  });
  // Some clients keep the colon of the mount command.
  assert.deepEqual(readPoolUrl('nfs://10.1.2.3:/export//p0'), { type: 'NetworkFilesystem', server: '10.1.2.3', path: '/export/p0' });
  assert.deepEqual(readPoolUrl('SharedMountPoint://localhost/var/pool'), { type: 'SharedMountPoint', server: null, path: '/var/pool' });
  for (const bad of [
    '',
    '/var/pool',
    'nfs:///export',
    'nfs://server',
    'nfs://server/',
    'nfs://-o/export',
    'nfs://server:2049/export',
    'nfs://server/a b',
    'nfs://server/a%20b',
    'nfs://server/a?x=1',
    'nfs://server/ü',
    'nfs://user@server/export',
    'rbd://server/pool',
    'file:///var/pool',
    'Filesystem://localhost/var/pool',
    `nfs://server/${'a'.repeat(1000)}`,
  ])
    assert.throws(() => readPoolUrl(bad), { code: 'InvalidParameter' }, bad);
  for (const climbing of ['SharedMountPoint://localhost/var/../etc', 'nfs://server/..', 'nfs://server/a/./b', 'nfs://server/a/%2e%2E/b'])
    assert.throws(() => readPoolUrl(climbing), /plain, without/, climbing);
});

test('the URL of an image store fits its provider', () => {
  assert.deepEqual(readStoreUrl('NFS', 'nfs://10.1.2.3/export/secondary'), { server: '10.1.2.3', path: '/export/secondary' });
  assert.deepEqual(readStoreUrl('Directory', 'file:///srv/images'), { server: null, path: '/srv/images' });
  assert.throws(() => readStoreUrl('NFS', 'file:///srv/images'), { code: 'InvalidParameter' });
  assert.throws(() => readStoreUrl('Directory', 'nfs://10.1.2.3/export'), { code: 'InvalidParameter' });
  assert.deepEqual(readStoreDetails([{ key: 'nfs.version', value: '4.2' }]), { 'nfs.version': '4.2' });
  assert.throws(() => readStoreDetails([{ key: 'nfs.version', value: '2' }]), /one of 3, 4, 4\.1, 4\.2/);
  assert.throws(() => readStoreDetails([{ key: 'nfs.version', value: '4,exec' }]), { code: 'InvalidParameter' });
  assert.throws(() => readStoreDetails([{ key: 'accesskey', value: 'x' }]), /not known/);
});

test('a pool is reached by the hosts of its cluster, or by those of its zone and hypervisor', () => {
  const host = { zoneId: 'z', clusterId: 'c', hypervisor: 'KVM' };
  const pool = (zoneId: string, clusterId: string | null, hypervisor: string) => ({ zoneId, clusterId, hypervisor }) as never;
  assert.ok(reaches(pool('z', 'c', 'KVM'), host));
  assert.ok(reaches(pool('z', null, 'KVM'), host));
  assert.ok(!reaches(pool('z', 'd', 'KVM'), host));
  assert.ok(!reaches(pool('y', null, 'KVM'), host));
  assert.ok(!reaches(pool('z', null, 'Simulator'), host));
});

test('a pool has all the tags an offering asks for', () => {
  assert.equal(readTags(['ssd, fast ', 'ssd', '']), 'ssd,fast');
  assert.equal(readTags([]), null);
  assert.ok(hasTags(null, null));
  assert.ok(hasTags('ssd', null));
  assert.ok(hasTags('ssd,fast', ' fast'));
  assert.ok(!hasTags('ssd', 'fast'));
  assert.ok(!hasTags(null, 'ssd'));
  assert.ok(!hasTags('ssd', 'ssd,fast'));
});
