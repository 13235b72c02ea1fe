import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CloudError } from '../protocol/errors.ts';
import { parseDeb822, parseOneLine, sourceLines } from './mirror.ts';

const DEB822 = `Types: deb deb-src
# a comment in the middle
URIs: https://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://mirror.example/security
Suites:
 bookworm-security
Components: main

Types: deb
URIs: https://off.example/debian
Suites: bookworm
Components: main
Enabled: no
`;

test('both formats of source lists are read', () => {
  assert.deepEqual(parseDeb822(DEB822), [
    { uri: 'https://mirror.example/debian', suite: 'bookworm' },
    { uri: 'https://mirror.example/debian', suite: 'bookworm-updates' },
    { uri: 'https://mirror.example/security', suite: 'bookworm-security' },
  ]);
  const list =
    '# deb http://no.example/debian bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main # why\ndeb http://x.example/tool stable extra\n';
  assert.deepEqual(parseOneLine(list), [{ uri: 'http://m.example/debian', suite: 'bookworm' }]);
});

test('the mirrors of the machine are used for another release, each for its own part', () => {
  const lines = sourceLines(parseDeb822(DEB822), 'bookworm', 'trixie');
  const signed = '[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]';
  assert.deepEqual(lines, [
    `deb ${signed} https://mirror.example/debian trixie main`,
    `deb ${signed} https://mirror.example/debian trixie-updates main`,
    `deb ${signed} https://mirror.example/security trixie-security main`,
  ]);
});

test('a machine without a Debian mirror is told so', () => {
  assert.throws(() => sourceLines([{ uri: 'http://x.example', suite: 'jammy' }], 'bookworm', 'trixie'), CloudError);
});
