import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Secret } from '../../protocol/schema.ts';
import { equalSecrets, hashPassword, newToken, openSecrets, sha256Hex, verifyPassword } from './secrets.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nephos-secrets-'));
});
after(() => rm(directory, { recursive: true, force: true }));

test('the master key is made once, for its owner alone, also by two first starts at once', async () => {
  const keys = join(directory, 'race');
  const [one, two] = await Promise.all([openSecrets(keys), openSecrets(keys)]);
  assert.equal(two.open(one.seal('hello')).reveal(), 'hello');
  const path = join(keys, 'master.key');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await readFile(path)).length, 32);
  assert.equal((await openSecrets(keys)).open(one.seal('again')).reveal(), 'again');
  await chmod(path, 0o640);
  await assert.rejects(openSecrets(keys), /owner alone/);
});

test('a sealed text opens only unchanged and with its own master key', async () => {
  const secrets = await openSecrets(join(directory, 'a'));
  const other = await openSecrets(join(directory, 'b'));
  const sealed = secrets.seal(new Secret('geheim — ✓'));
  assert.ok(!sealed.includes('geheim'));
  assert.notEqual(sealed, secrets.seal(new Secret('geheim — ✓')));
  assert.equal(secrets.open(sealed).reveal(), 'geheim — ✓');
  assert.equal(String(secrets.open(sealed)), '***');
  assert.throws(() => other.open(sealed), /cannot be opened/);
  const bytes = Buffer.from(sealed.slice(3), 'base64');
  for (const index of [0, 12, bytes.length - 1]) {
    const changed = Buffer.from(bytes);
    changed[index] = (changed[index] ?? 0) ^ 1;
    assert.throws(() => secrets.open(`v1.${changed.toString('base64')}`), /cannot be opened/);
  }
  assert.throws(() => secrets.open('v1.AAAA'), /malformed/);
  assert.throws(() => secrets.open('v2.AAAA'), /malformed/);
});

test('passwords are salted scrypt hashes', async () => {
  const hash = await hashPassword(new Secret('correct horse'));
  assert.match(hash, /^scrypt\$32768\$8\$3\$/);
  assert.equal(await verifyPassword('correct horse', hash), true);
  assert.equal(await verifyPassword('correct horsf', hash), false);
  assert.notEqual(await hashPassword('correct horse'), hash);
  assert.equal(await verifyPassword('anything', 'not a hash'), false);
});

test('tokens are long and comparison is by content', () => {
  assert.match(newToken(), /^[A-Za-z0-9_-]{43}$/);
  assert.equal(new Set(Array.from({ length: 1000 }, () => newToken())).size, 1000);
  assert.equal(sha256Hex('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  assert.equal(equalSecrets('abc', new Secret('abc')), true);
  assert.equal(equalSecrets('abc', 'abcd'), false);
});
