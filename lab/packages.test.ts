import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packageGroups, packagesOf, parseAptStatus, parseDepends, parseOsRelease, parseSimulation, runGroups } from './packages.ts';

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

test('what a package needs is read in all the forms apt prints', () => {
  const stdout = 'libtimedate-perl\n  Depends: <perl:any>\n    perl\n |Depends: libc6\n  PreDepends: dpkg\nperl:amd64\n';
  assert.deepEqual([...parseDepends(stdout)], ['libtimedate-perl', 'perl', 'libc6', 'dpkg']);
});
