/** A certificate authority for tests. */
import { randomUUID } from 'node:crypto';
import forge from 'node-forge';
import type { LinkIdentity } from '../protocol/link/identity.ts';

export interface TestAuthority {
  readonly caPem: string;
  readonly issue: (
    name: { readonly dns: string } | { readonly uri: string },
    over?: { expired?: boolean },
  ) => { key: string; cert: string };
  readonly identity: (kind: LinkIdentity['kind']) => LinkIdentity;
}

export function testAuthority(): TestAuthority {
  const pair = forge.pki.rsa.generateKeyPair(2048);
  const HOUR = 3600_000;
  let serial = 1;
  const make = (subject: string, key: forge.pki.PublicKey, extensions: object[], expired: boolean): string => {
    const certificate = forge.pki.createCertificate();
    certificate.publicKey = key;
    certificate.serialNumber = `0${serial++}`;
    certificate.validity.notBefore = new Date(Date.now() - 2 * HOUR);
    certificate.validity.notAfter = new Date(Date.now() + (expired ? -HOUR : HOUR));
    certificate.setSubject([{ name: 'commonName', value: subject }]);
    certificate.setIssuer([{ name: 'commonName', value: 'Test authority' }]);
    certificate.setExtensions(extensions);
    certificate.sign(pair.privateKey, forge.md.sha256.create());
    return forge.pki.certificateToPem(certificate);
  };
  const caPem = make('Test authority', pair.publicKey, [{ name: 'basicConstraints', cA: true }], false);
  const issue: TestAuthority['issue'] = (name, { expired = false } = {}) => {
    const own = forge.pki.rsa.generateKeyPair(2048);
    const names = 'dns' in name ? [{ type: 2, value: name.dns }] : [{ type: 6, value: name.uri }];
    return {
      key: forge.pki.privateKeyToPem(own.privateKey),
      cert: make('dns' in name ? name.dns : 'member', own.publicKey, [{ name: 'subjectAltName', altNames: names }], expired),
    };
  };
  return {
    caPem,
    issue,
    identity: (kind) => {
      const id = randomUUID();
      const { key, cert } = issue({ uri: `nephos://${kind}/${id}` });
      return { kind, id, keyPem: key, certificatePem: cert, caPem, notAfter: Date.now() + HOUR };
    },
  };
}
