import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allowedPackages } from './allowed-packages.ts';
import { bootParameters } from './boot.ts';
import { systemVmRecipe } from './build.ts';
import { packages, unexpectedPackages } from './packages.ts';
import { rootFiles } from './root.ts';

test('SV-08: a package that nobody has allowed is found in the manifest', () => {
  const good = 'nodejs 20.19.2 amd64\nlinux-image-6.12.117+deb13-cloud-amd64 6.12.117-1 amd64\n';
  assert.deepEqual(unexpectedPackages(good), []);
  assert.deepEqual(unexpectedPackages(`${good}gcc-14 14.2.0 amd64\nlinux-image-6.12.117+deb13-amd64 6.12 amd64\n`), [
    'gcc-14',
    'linux-image-6.12.117+deb13-amd64',
  ]);
});

test('SV-08: what may be in the template holds no compiler, no package manager of other kinds and no init system of its own', () => {
  const forbidden = /^(gcc-\d+|g\+\+.*|cpp.*|clang.*|make|binutils.*|npm|python3.*|systemd|systemd-sysv|cron|rsyslog|telnetd|sudo)$/;
  assert.deepEqual(
    allowedPackages.filter((name) => forbidden.test(name)),
    [],
  );
  assert.deepEqual(
    packages.filter((name) => unexpectedPackages(name).length > 0),
    [],
    'everything asked for is allowed',
  );
  assert.deepEqual([...allowedPackages].sort(), [...new Set(allowedPackages)].sort(), 'no name twice');
});

test('the hash of the recipe is stable', async () => {
  assert.equal(await systemVmRecipe(), await systemVmRecipe());
});

test('SV-21: the legacy password is nowhere in the sources of the templates', async () => {
  // Written in two parts, or this file would be the place where it is found.
  const legacy = ['6m1', 'll10n'].join('');
  const folder = fileURLToPath(new URL('..', import.meta.url));
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  assert.ok(names.length > 10);
  for (const { parentPath, name } of names) {
    assert.ok(!(await readFile(`${parentPath}/${name}`, 'utf8')).includes(legacy), `${parentPath}/${name}`);
  }
});

test('SV-09: sshd listens on 3922 and takes keys only', async () => {
  const config = (await rootFiles()).find(({ path }) => path === 'etc/ssh/sshd_config')?.content ?? '';
  const value = (key: string): string | undefined => new RegExp(`^${key} (.*)$`, 'm').exec(config)?.[1];
  assert.equal(value('Port'), '3922');
  assert.equal(value('PasswordAuthentication'), 'no');
  assert.equal(value('KbdInteractiveAuthentication'), 'no');
  assert.equal(value('AuthenticationMethods'), 'publickey');
  assert.equal(value('PermitRootLogin'), 'prohibit-password');
});

test('protections of the CPU are switched off only where the CPU is emulated', () => {
  assert.ok(bootParameters('emulated').includes('mitigations=off'));
  assert.ok(!bootParameters('kvm').some((word) => /mitigations|tsc=/.test(word)));
});
