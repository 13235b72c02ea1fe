import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packageGroups, packagesOf, parseAptStatus, parseOsRelease, parseSimulation, reachable, runGroups } from './packages.ts';

test('package names are well-formed, listed once per group, and nothing starts a service of its own', () => {
  for (const [group, names] of Object.entries(packageGroups)) {
    assert.equal(new Set(names).size, names.length, group);
    for (const name of names) assert.match(name, /^[a-z0-9][a-z0-9+.-]+$/);
  }
  const all = packagesOf(['server', 'host', 'lab', 'build', 'test']);
  for (const service of ['mariadb-server', 'dnsmasq', 'nfs-kernel-server']) assert.ok(!all.includes(service), service);
});

test('a browser is not installed on a machine that only runs the cloud', () => {
  assert.ok(!packagesOf(runGroups).includes('chromium'));
  assert.ok(packagesOf(['test']).includes('chromium'));
});

test('progress comes from the status stream of apt', () => {
  assert.deepEqual(parseAptStatus('dlstatus:1:50.0000:Retrieving file 1 of 2 (remaining: 2s)'), { fraction: 0.2, note: 'downloading' });
  assert.deepEqual(parseAptStatus('pmstatus:qemu-utils:100:Installed qemu-utils (amd64)'), {
    fraction: 1,
    note: 'Installed qemu-utils (amd64)',
  });
  assert.equal(parseAptStatus('media-change: x'), null);
});

test('a simulation tells what would arrive and what would go', () => {
  const stdout =
    'Reading package lists...\nInst redis-tools (5:7.0 Debian:12 [amd64])\nInst redis-server (5:7.0)\nConf redis-tools (5:7.0)\nRemv nginx [1.2]\n';
  assert.deepEqual(parseSimulation(stdout, 'Inst'), ['redis-tools', 'redis-server']);
  assert.deepEqual(parseSimulation(stdout, 'Remv'), ['nginx']);
});

test('os-release is read with and without quotes', () => {
  const release = parseOsRelease('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n');
  assert.equal(release['ID'], 'debian');
  assert.equal(release['VERSION_ID'], '12');
  assert.equal(release['PRETTY_NAME'], 'Debian GNU/Linux 12 (bookworm)');
});

test('what a package needs is found over versions, alternatives and provided names', () => {
  const lines = [
    'libtimedate-perl\t, perl:any\t',
    'perl\tdpkg (>= 1.17), perl-base (= 5.40)\tlibtest-perl (= 1)',
    'perl-base\tlibc6 (>= 2.3) | libc7\t',
    'libc6\t, \t',
    'mail\t, libtest-perl | exim\t',
    'zstd\t, libc6\t',
    '',
  ].join('\n');
  assert.deepEqual([...reachable(lines, ['libtimedate-perl'])].sort(), ['libc6', 'libtimedate-perl', 'perl', 'perl-base']);
  assert.ok(reachable(lines, ['mail']).has('perl'));
  assert.ok(!reachable(lines, ['mail']).has('zstd'));
});
