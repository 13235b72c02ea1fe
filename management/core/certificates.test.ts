import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { peerOfNames } from '../../protocol/link/identity.ts';
import { type AuthorityStore, openCertificates, type StoredAuthority } from './certificates.ts';
import { secretsWith } from './secrets.ts';

const run = promisify(execFile);
const secrets = secretsWith(randomBytes(32));
const memoryStore = (): AuthorityStore & { kept: StoredAuthority | null } => {
  const store = {
    kept: null as StoredAuthority | null,
    read: async () => store.kept,
    writeOnce: async (authority: StoredAuthority) => (store.kept ??= authority),
  };
  return store;
};

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nephos-certificates-'));
});
after(() => rm(directory, { recursive: true, force: true }));

const openssl = async (...args: string[]): Promise<string> => (await run('openssl', args, { cwd: directory, timeout: 20_000 })).stdout;

test('SV-19 the authority signs for exactly one id, and openssl agrees with every field', async () => {
  const certificates = await openCertificates({ store: memoryStore(), secrets });
  const id = randomUUID();
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issued = certificates.issue({ kind: 'router', id, publicKey, validitySeconds: 365 * 86_400 });
  await writeFile(join(directory, 'ca.pem'), certificates.caPem);
  await writeFile(join(directory, 'agent.pem'), issued.certificatePem);
  for (const purpose of ['sslclient', 'sslserver']) {
    assert.match(await openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'ca.pem', 'agent.pem'), /agent\.pem: OK/);
  }
  const text = await openssl('x509', '-in', 'agent.pem', '-noout', '-text');
  assert.match(text, new RegExp(`URI:nephos://router/${id}\\n`));
  assert.match(text, /CA:FALSE/);
  assert.match(text, /Digital Signature\n/);
  assert.match(text, /ASN1 OID: prime256v1/);
  assert.match(await openssl('x509', '-in', 'ca.pem', '-noout', '-text'), /CA:TRUE, pathlen:0[\s\S]*Certificate Sign, CRL Sign/);
  assert.match(await openssl('x509', '-in', 'agent.pem', '-noout', '-serial'), new RegExp(`serial=${issued.serial}\\n`));

  const certificate = new X509Certificate(issued.certificatePem);
  const ca = new X509Certificate(certificates.caPem);
  assert.ok(certificate.checkIssued(ca) && certificate.verify(ca.publicKey));
  assert.equal(certificate.ca, false);
  assert.deepEqual(peerOfNames(certificate.subjectAltName), { kind: 'router', id });
  assert.equal(Date.parse(certificate.validTo), issued.notAfter);
  assert.equal(ca.fingerprint256.replaceAll(':', '').toLowerCase(), certificates.caSha256);
  assert.ok(Math.abs(Date.parse(ca.validTo) - Date.now() - 3650 * 86_400_000) < 60_000);
});

test('the management certificate carries its URI and the names clients dial', async () => {
  const certificates = await openCertificates({ store: memoryStore(), secrets });
  const id = randomUUID();
  const issued = certificates.issueManagement({ id, names: ['cloud.example', '192.0.2.7', 'fd00::7'], validitySeconds: 86_400 });
  const certificate = new X509Certificate(issued.certificatePem);
  assert.ok(certificate.checkPrivateKey(createPrivateKey(issued.keyPem)));
  assert.equal(certificate.checkHost('cloud.example'), 'cloud.example');
  assert.equal(certificate.checkIP('192.0.2.7'), '192.0.2.7');
  assert.equal(certificate.checkIP('fd00::7'), 'fd00::7');
  assert.deepEqual(peerOfNames(certificate.subjectAltName), { kind: 'management', id });
  assert.equal(issued.chainPem.match(/BEGIN CERTIFICATE/g)?.length, 2);
});

test('the authority is made once, its key is sealed, and it survives a restart', async () => {
  const store = memoryStore();
  const [one, two] = await Promise.all([openCertificates({ store, secrets }), openCertificates({ store, secrets })]);
  assert.equal(one.caSha256, two.caSha256);
  assert.equal((await openCertificates({ store, secrets })).caSha256, one.caSha256);
  assert.ok(!JSON.stringify(store.kept).includes('PRIVATE'));
  await assert.rejects(openCertificates({ store, secrets: secretsWith(randomBytes(32)) }), /cannot be opened/);
});

test('no certificate outlives the authority, and dates beyond 2049 are written as they should be', async () => {
  const certificates = await openCertificates({ store: memoryStore(), secrets, now: () => Date.parse('2045-01-01T00:00:00Z') });
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issued = certificates.issue({ kind: 'host', id: randomUUID(), publicKey, validitySeconds: 100 * 365 * 86_400 });
  const ca = new X509Certificate(certificates.caPem);
  assert.equal(new Date(ca.validTo).getUTCFullYear(), 2054);
  assert.equal(Date.parse(new X509Certificate(issued.certificatePem).validTo), Date.parse(ca.validTo));
});

test('an identity is one URI of a known kind and a whole id', () => {
  const id = randomUUID();
  assert.deepEqual(peerOfNames(`DNS:x, URI:nephos://host/${id}`), { kind: 'host', id });
  for (const names of [
    undefined,
    'DNS:x',
    `URI:nephos://host/${id}, URI:nephos://host/${randomUUID()}`,
    `URI:nephos://root/${id}`,
    'URI:nephos://host/1',
    `URI:https://host/${id}`,
    `DNS:"URI:nephos://host/${id}"`,
  ]) {
    assert.equal(peerOfNames(names), null, String(names));
  }
});
