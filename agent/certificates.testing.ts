/** Certificates for the agent's own tests, by openssl: the agent must not lean on the management server's code for them. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { newId } from '../protocol/ids.ts';
import { type CertificateKind, identityUri, type LinkIdentity } from '../protocol/link/identity.ts';
import { run } from './processes.ts';

export interface TestAuthority {
  /** `kind` of the identity is meaningless for a management server; its certificate says what it is. */
  sign(kind: CertificateKind, id?: string): Promise<LinkIdentity>;
}

const openssl = (...args: string[]): Promise<string> => run('make a certificate', 'openssl', args);
export async function openAuthority(directory: string): Promise<TestAuthority> {
  await mkdir(directory, { recursive: true });
  const ca = join(directory, 'authority');
  await openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=Nephos test'],
    ...['-keyout', `${ca}.key`, '-out', `${ca}.crt`],
  );
  return {
    sign: async (kind, id = newId('peer')) => {
      const own = join(directory, id);
      await writeFile(`${own}.ext`, `subjectAltName=URI:${identityUri(kind, id)}\n`);
      await openssl(
        ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=peer'],
        ...['-keyout', `${own}.key`, '-out', `${own}.csr`],
      );
      await openssl(
        ...[
          'x509',
          '-req',
          '-in',
          `${own}.csr`,
          '-CA',
          `${ca}.crt`,
          '-CAkey',
          `${ca}.key`,
          '-set_serial',
          `0x${randomBytes(8).toString('hex')}`,
        ],
        ...['-days', '2', '-extfile', `${own}.ext`, '-out', `${own}.crt`],
      );
      const [keyPem, certificatePem, caPem] = await Promise.all(
        [`${own}.key`, `${own}.crt`, `${ca}.crt`].map((path) => readFile(path, 'utf8')),
      );
      assert.ok(keyPem && certificatePem && caPem);
      return { kind: kind === 'management' ? 'host' : kind, id, keyPem, certificatePem, caPem, notAfter: Date.now() + 86_400_000 };
    },
  };
}
