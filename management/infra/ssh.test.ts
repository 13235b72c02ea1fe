import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import ssh2 from 'ssh2';
import { Secret } from '../../protocol/schema.ts';
import { pair, withServer } from './ssh.testing.ts';
import { openShell, quote } from './ssh.ts';

test('words arrive as they are, whatever is in them', async () => {
  await withServer(async (target) => {
    const shell = await openShell(target);
    const words = ["it's", '$HOME', '`id`', 'a  b', '"', '\\', '*', '', '--', 'ü', 'two\nlines'];
    const { code, stdout } = await shell.exec(['printf', '%s|', ...words]);
    assert.equal(code, 0);
    assert.equal(stdout, `${words.join('|')}|`);
    const failed = await shell.exec(['sh', '-c', 'echo oops >&2; exit 7']);
    assert.deepEqual(failed, { code: 7, stdout: '', stderr: 'oops\n' });
    shell.close();
    await assert.rejects(shell.exec(['true']), /was lost: it was closed/);
  });
  assert.throws(() => quote('a\0b'), /NUL/);
});

test('a file is written whole and with its mode, whatever its bytes', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nephos-ssh-'));
  try {
    await withServer(async (target) => {
      const shell = await openShell({ ...target, login: { privateKey: new Secret(pair.private) } });
      const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 256));
      const path = join(directory, "it's here");
      await shell.put(path, 'first, and longer than nothing', 0o644);
      await shell.put(path, bytes, 0o600);
      assert.equal(Buffer.compare(await readFile(path), bytes), 0);
      assert.equal((await stat(path)).mode & 0o777, 0o600);
      await assert.rejects(shell.put(join(directory, 'none', 'x'), 'x', 0o600), /could not be written on 127\.0\.0\.1/);
      shell.close();
    });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a command that does not end is left after its time', async () => {
  await withServer(async (target) => {
    const shell = await openShell(target);
    await assert.rejects(shell.exec(['sleep', '30'], { timeoutSeconds: 0.3 }), /sleep did not end on 127\.0\.0\.1 within 0\.3 seconds/);
    shell.close();
  });
});

test('the first key is taken, and later only that one', async () => {
  await withServer(async (target) => {
    const first = await openShell(target);
    assert.match(first.hostKey, /^SHA256:[A-Za-z0-9+/]{43}$/);
    first.close();
    const again = await openShell({ ...target, expectedHostKey: first.hostKey });
    again.close();
    const other = `SHA256:${'A'.repeat(43)}`;
    await assert.rejects(openShell({ ...target, expectedHostKey: other }), (error: Error) => {
      assert.match(error.message, /the ssh host key of 127\.0\.0\.1 is SHA256:.* was SHA256:A{43}/);
      return true;
    });
  });
});

test('errors say whether the way or the login is wrong, and never the password', async () => {
  await withServer(async (target) => {
    const wrong = new Secret('not-the-password');
    await assert.rejects(openShell({ ...target, login: { password: wrong } }), (error: Error) => {
      assert.match(error.message, /root@127\.0\.0\.1 port \d+ cannot log in with this password/);
      assert.doesNotMatch(JSON.stringify(error) + error.message + String(error.cause), /not-the-password/);
      return true;
    });
    const stranger = ssh2.utils.generateKeyPairSync('ed25519');
    await assert.rejects(
      openShell({ ...target, login: { privateKey: new Secret(stranger.private) } }),
      /cannot log in with the cloud's ssh key/,
    );
  });
  const closed = { address: '127.0.0.1', port: 1, username: 'root', login: { password: new Secret('x') }, expectedHostKey: null };
  await assert.rejects(openShell(closed), /no ssh connection to root@127\.0\.0\.1 port 1: nothing listens there/);
});
