import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CloudError } from '../../protocol/errors.ts';
import { checkChecksum, checkUrl, chooseStore, failureText, percentOf, secondsToNextRound, statusText } from './rules.ts';

test('only plain http and https URLs are taken', () => {
  assert.equal(checkUrl(' http://images.example.org/debian 12.qcow2 '), 'http://images.example.org/debian%2012.qcow2');
  assert.equal(checkUrl('https://images.example.org:8443/a?b=c'), 'https://images.example.org:8443/a?b=c');
  for (const bad of ['ftp://images.example.org/a', 'file:///etc/passwd', '/a', '', 'http://', 'nfs://a/b'])
    assert.throws(() => checkUrl(bad), { code: 'InvalidParameter' }, bad);
  assert.throws(() => checkUrl('https://user:word@images.example.org/a'), /user name or password/);
  assert.throws(() => checkUrl('https://user@images.example.org/a'), /user name or password/);
  assert.throws(() => checkUrl(`http://images.example.org/${'a'.repeat(2048)}`), /longer than 2048/);
  // Escaping can make a URL longer than what was given.
  assert.throws(() => checkUrl(`http://images.example.org/${'ü'.repeat(1000)}`), /longer than 2048/);
});

test('checksums have the length of their algorithm', () => {
  assert.equal(checkChecksum(` ${'A'.repeat(32)}`), 'A'.repeat(32));
  assert.equal(checkChecksum(`{SHA-512}${'0'.repeat(128)}`), `{SHA-512}${'0'.repeat(128)}`);
  assert.equal(checkChecksum(`{sha256}${'0'.repeat(64)}`), `{sha256}${'0'.repeat(64)}`);
  for (const bad of [
    '',
    'a',
    'g'.repeat(32),
    '0'.repeat(33),
    `{SHA-256}${'0'.repeat(40)}`,
    `{CRC}${'0'.repeat(32)}`,
    `{SHA-256${'0'.repeat(64)}`,
  ])
    assert.throws(() => checkChecksum(bad), { code: 'InvalidParameter' }, bad);
});

test('the status is told in the words that clients know', () => {
  const at = (state: Parameters<typeof statusText>[0]['state'], percent: number, error: string | null = null) =>
    statusText({ state, percent, error });
  assert.equal(at('NOT_DOWNLOADED', 0), 'Processing');
  assert.equal(at('DOWNLOAD_IN_PROGRESS', 40), '40% Downloaded');
  assert.equal(at('DOWNLOAD_IN_PROGRESS', 100), 'Installing Template');
  assert.equal(at('DOWNLOAD_IN_PROGRESS', 7, 'the server is away'), '7% Downloaded; trying again: the server is away');
  assert.equal(at('DOWNLOADED', 100), 'Download Complete');
  assert.equal(at('DOWNLOAD_ERROR', 7, 'the server answered 404'), 'the server answered 404');
  assert.equal(at('ABANDONED', 7), 'ABANDONED');
});

test('SS-09: what may pass is tried again, later each time and not for ever; what is final is not', () => {
  const passing = new CloudError('Unreachable', 'the server a.example does not answer');
  const waits: number[] = [];
  for (let round = 0; ; round += 1) {
    const seconds = secondsToNextRound(passing, round);
    if (seconds === null) break;
    assert.ok(seconds >= (waits.at(-1) ?? 0), 'later each time');
    waits.push(seconds);
  }
  assert.ok(waits.length >= 8 && waits.length <= 20);
  assert.ok(waits.reduce((sum, each) => sum + each, 0) < 24 * 3600);
  assert.equal(secondsToNextRound(new CloudError('InsufficientStorage', 'full'), 0), waits[0]);
  assert.equal(secondsToNextRound(new CloudError('InvalidParameter', 'the checksum differs'), 0), null);
  assert.equal(
    failureText(passing, new Date('2026-01-02T03:04:05Z')),
    'the server a.example does not answer; it is tried again at 03:04 UTC',
  );
  assert.equal(failureText(passing, null), passing.message);
  const long = failureText(new CloudError('Unreachable', 'x'.repeat(2000)), new Date('2026-01-02T03:04:05Z'));
  assert.equal(long.length, 1024);
  assert.match(long, /03:04 UTC$/);
});

test('a download is at 100 percent only when all has arrived', () => {
  assert.equal(percentOf({ receivedBytes: 0, totalBytes: 1000, phase: 'downloading' }), 0);
  assert.equal(percentOf({ receivedBytes: 409, totalBytes: 1000, phase: 'downloading' }), 40);
  assert.equal(percentOf({ receivedBytes: 1000, totalBytes: 1000, phase: 'downloading' }), 99);
  assert.equal(percentOf({ receivedBytes: 5, totalBytes: null, phase: 'downloading' }), 0);
  assert.equal(percentOf({ receivedBytes: 5, totalBytes: 0, phase: 'downloading' }), 0);
  assert.equal(percentOf({ receivedBytes: 1000, totalBytes: 1000, phase: 'converting' }), 100);
});

test('the writable store with the most room is chosen', () => {
  const store = (id: string, totalBytes: number | null, usedBytes: number | null, readOnly = false) => ({
    id: id as never,
    totalBytes,
    usedBytes,
    readOnly,
  });
  assert.equal(chooseStore([]), null);
  assert.equal(chooseStore([store('a', 100, 0, true)]), null);
  assert.equal(chooseStore([store('a', 100, 90), store('b', 50, 10), store('c', null, null)])?.id, 'b');
  assert.equal(chooseStore([store('b', null, null), store('a', null, null)])?.id, 'a');
  assert.equal(chooseStore([store('a', 100, 0, true), store('b', null, null)])?.id, 'b');
});
