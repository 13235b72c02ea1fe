/**
 * The cloud's own certificate authority. node-forge builds the X.509 structures; keys and signatures are node's, because forge has no
 * elliptic curves. Every certificate names whom it belongs to in one URI: nephos://<kind>/<uuid>.
 */
import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import forge from 'node-forge';
import { CloudError } from '../../protocol/errors.ts';
import type { PeerKind } from '../../protocol/kinds.ts';
import { type CertificateKind, identityUri } from '../../protocol/link/identity.ts';
import { UUID_PATTERN } from '../../protocol/schema.ts';
import type { Secrets } from './secrets.ts';

const { asn1, pki } = forge;
type Asn1 = forge.asn1.Asn1;

const DAY_SECONDS = 86_400;
const AUTHORITY_DAYS = 3650;
/** Clocks of machines that have just booted run behind at times. */
const BACKDATE_SECONDS_MAX = 300;

export interface StoredAuthority {
  readonly certificatePem: string;
  readonly sealedKey: string;
}
/** Where the authority is kept. `writeOnce` gives back what is kept: with two first starts at once, the first one's. */
export interface AuthorityStore {
  readonly read: () => Promise<StoredAuthority | null>;
  readonly writeOnce: (authority: StoredAuthority) => Promise<StoredAuthority>;
}

export interface Issued {
  readonly certificatePem: string;
  readonly caPem: string;
  /** Hexadecimal in upper case, as TLS shows it. */
  readonly serial: string;
  /** Milliseconds since 1970. */
  readonly notAfter: number;
}
export interface ManagementCertificate extends Issued {
  readonly keyPem: string;
  /** Certificate and authority, as a TLS server sends them. */
  readonly chainPem: string;
}
export interface Certificates {
  readonly caPem: string;
  /** SHA-256 of the authority's certificate (DER), in lower-case hexadecimal; travels with every join token. */
  readonly caSha256: string;
  readonly issue: (to: { kind: PeerKind; id: string; publicKey: KeyObject; validitySeconds: number }) => Issued;
  /** Makes a key, too. `names` are DNS names and IP addresses that clients may dial. */
  readonly issueManagement: (to: { id: string; names: readonly string[]; validitySeconds: number }) => ManagementCertificate;
}

export interface CertificatesOptions {
  readonly store: AuthorityStore;
  readonly secrets: Secrets;
  readonly now?: () => number;
}

/** Reads the authority, or makes it at the first start. */
export async function openCertificates({ store, secrets, now = Date.now }: CertificatesOptions): Promise<Certificates> {
  const stored = (await store.read()) ?? (await store.writeOnce(createAuthority(secrets, now())));
  const ca = new X509Certificate(stored.certificatePem);
  const key = createPrivateKey(secrets.open(stored.sealedKey).reveal());
  if (!ca.checkPrivateKey(key)) throw new CloudError('Internal', 'the key that is kept is not that of the certificate authority');
  const caPem = ca.toString();

  const make = (kind: CertificateKind, id: string, publicKey: KeyObject, names: readonly string[], validitySeconds: number): Issued => {
    if (!UUID_PATTERN.test(id)) throw new CloudError('InvalidParameter', 'a certificate is issued to an id');
    // Nothing lives longer than the authority that vouches for it.
    const notAfter = Math.min(now() + validitySeconds * 1000, Date.parse(ca.validTo));
    const { der, serial } = buildCertificate({
      publicKey,
      signingKey: key,
      issuer: AUTHORITY_NAME,
      issuerPublicKey: ca.publicKey,
      subject: `${kind} ${id}`,
      notBefore: now() - Math.min(BACKDATE_SECONDS_MAX, validitySeconds / 100) * 1000,
      notAfter,
      alternativeNames: [uriName(identityUri(kind, id)), ...names.map(hostName)],
    });
    return { certificatePem: pemOf(der), caPem, serial, notAfter: Math.floor(notAfter / 1000) * 1000 };
  };

  return {
    caPem,
    caSha256: createHash('sha256').update(ca.raw).digest('hex'),
    issue: ({ kind, id, publicKey, validitySeconds }) => make(kind, id, publicKey, [], validitySeconds),
    issueManagement({ id, names, validitySeconds }) {
      const { publicKey, privateKey } = newKeyPair();
      const issued = make('management', id, publicKey, names, validitySeconds);
      return { ...issued, keyPem: keyPemOf(privateKey), chainPem: issued.certificatePem + caPem };
    },
  };
}

const AUTHORITY_NAME = 'Nephos certificate authority';

function createAuthority(secrets: Secrets, now: number): StoredAuthority {
  const { publicKey, privateKey } = newKeyPair();
  const { der } = buildCertificate({
    publicKey,
    signingKey: privateKey,
    issuer: AUTHORITY_NAME,
    issuerPublicKey: publicKey,
    subject: AUTHORITY_NAME,
    notBefore: now - BACKDATE_SECONDS_MAX * 1000,
    notAfter: now + AUTHORITY_DAYS * DAY_SECONDS * 1000,
    alternativeNames: null,
  });
  return { certificatePem: pemOf(der), sealedKey: secrets.seal(keyPemOf(privateKey)) };
}

const newKeyPair = (): { publicKey: KeyObject; privateKey: KeyObject } => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keyPemOf = (key: KeyObject): string => key.export({ format: 'pem', type: 'pkcs8' }).toString();
const pemOf = (der: Buffer): string => forge.pem.encode({ type: 'CERTIFICATE', body: der.toString('latin1') }).replaceAll('\r\n', '\n');

interface CertificateParts {
  readonly publicKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly issuer: string;
  readonly issuerPublicKey: KeyObject;
  readonly subject: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Null makes an authority. */
  readonly alternativeNames: readonly Asn1[] | null;
}

const universal = (type: forge.asn1.Type, value: string | Asn1[]): Asn1 =>
  asn1.create(asn1.Class.UNIVERSAL, type, Array.isArray(value), value);
const tagged = (tag: number, value: string | Asn1[]): Asn1 => asn1.create(asn1.Class.CONTEXT_SPECIFIC, tag, Array.isArray(value), value);
const sequence = (...items: Asn1[]): Asn1 => universal(asn1.Type.SEQUENCE, items);
const oid = (dotted: string): Asn1 => universal(asn1.Type.OID, asn1.oidToDer(dotted).getBytes());
const octets = (bytes: string): Asn1 => universal(asn1.Type.OCTETSTRING, bytes);
/** The first byte of a BIT STRING tells how many bits of the last one are unused. */
const bits = (bytes: string, unused = 0): Asn1 => universal(asn1.Type.BITSTRING, String.fromCharCode(unused) + bytes);
const boolean = (value: boolean): Asn1 => universal(asn1.Type.BOOLEAN, value ? '\xff' : '\x00');
const integer = (bytes: string): Asn1 => universal(asn1.Type.INTEGER, bytes);
const commonName = (name: string): Asn1 =>
  sequence(universal(asn1.Type.SET, [sequence(oid(pki.oids['commonName'] ?? ''), universal(asn1.Type.UTF8, forge.util.encodeUtf8(name)))]));
/** Until 2049 a date is written with two digits of the year, later with four (RFC 5280, 4.1.2.5). */
const time = (at: number): Asn1 => {
  const date = new Date(at);
  return date.getUTCFullYear() < 2050
    ? universal(asn1.Type.UTCTIME, asn1.dateToUtcTime(date))
    : universal(asn1.Type.GENERALIZEDTIME, asn1.dateToGeneralizedTime(date));
};
const derOf = (value: Asn1): string => asn1.toDer(value).getBytes();

const EXTENSION = {
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectKeyIdentifier: '2.5.29.14',
  authorityKeyIdentifier: '2.5.29.35',
  subjectAltName: '2.5.29.17',
} as const;
const extension = (name: keyof typeof EXTENSION, value: Asn1, critical = false): Asn1 =>
  sequence(oid(EXTENSION[name]), ...(critical ? [boolean(true)] : []), octets(derOf(value)));

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';

const uriName = (uri: string): Asn1 => tagged(6, uri);
const hostName = (name: string): Asn1 =>
  isIP(name) ? tagged(7, Buffer.from(ipaddr.parse(name).toByteArray()).toString('latin1')) : tagged(2, name);

const spkiOf = (key: KeyObject): string => key.export({ format: 'der', type: 'spki' }).toString('latin1');
const keyIdentifier = (key: KeyObject): string => createHash('sha1').update(spkiOf(key), 'latin1').digest().toString('latin1');

function buildCertificate(parts: CertificateParts): { der: Buffer; serial: string } {
  const { publicKey, signingKey, issuer, issuerPublicKey, subject, notBefore, notAfter, alternativeNames } = parts;
  // Between 64 and 127 in the first byte: positive, and no leading zero that a reader could drop.
  const serialBytes = randomBytes(16);
  serialBytes[0] = 0x40 | ((serialBytes[0] ?? 0) & 0x3f);
  const algorithm = sequence(oid(ECDSA_WITH_SHA256));
  const usages =
    alternativeNames === null
      ? [
          extension('basicConstraints', sequence(boolean(true), integer('\x00')), true),
          // keyCertSign and cRLSign.
          extension('keyUsage', bits('\x06', 1), true),
        ]
      : [
          extension('basicConstraints', sequence(), true),
          // digitalSignature.
          extension('keyUsage', bits('\x80', 7), true),
          extension('extendedKeyUsage', sequence(oid(SERVER_AUTH), oid(CLIENT_AUTH))),
          extension('authorityKeyIdentifier', sequence(tagged(0, keyIdentifier(issuerPublicKey)))),
          extension('subjectAltName', sequence(...alternativeNames)),
        ];
  const toBeSigned = sequence(
    tagged(0, [integer('\x02')]),
    integer(serialBytes.toString('latin1')),
    algorithm,
    commonName(issuer),
    sequence(time(notBefore), time(notAfter)),
    commonName(subject),
    asn1.fromDer(spkiOf(publicKey)),
    tagged(3, [sequence(extension('subjectKeyIdentifier', octets(keyIdentifier(publicKey))), ...usages)]),
  );
  const signature = sign('sha256', Buffer.from(derOf(toBeSigned), 'latin1'), signingKey).toString('latin1');
  return {
    der: Buffer.from(derOf(sequence(toBeSigned, algorithm, bits(signature))), 'latin1'),
    serial: serialBytes.toString('hex').toUpperCase(),
  };
}
