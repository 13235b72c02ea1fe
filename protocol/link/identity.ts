/** Who sits at an end of a link: the key and certificate it proves it with, where they are kept, and how TLS is set up from them. */
import { X509Certificate } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type ConnectionOptions, createSecureContext, type PeerCertificate, type SecureContext, type TlsOptions } from 'node:tls';
import { CloudError } from '../errors.ts';
import { type PeerKind, PeerKindShape, peerKindNames } from '../kinds.ts';
import { s, UUID_PATTERN } from '../schema.ts';

export interface LinkIdentity {
  readonly kind: PeerKind;
  readonly id: string;
  readonly keyPem: string;
  readonly certificatePem: string;
  readonly caPem: string;
  /** Milliseconds since 1970. */
  readonly notAfter: number;
}

export interface IdentityStore {
  read(): Promise<LinkIdentity | null>;
  write(identity: LinkIdentity): Promise<void>;
}

const StoredIdentity = s.object({
  kind: PeerKindShape,
  id: s.string({ match: UUID_PATTERN }),
  keyPem: s.text({ max: 16_384 }),
  certificatePem: s.text({ max: 65_536 }),
  caPem: s.text({ max: 65_536 }),
  notAfter: s.time(),
});

/** Keeps the identity in one file, so key and certificate can never be of two different renewals. */
export const fileIdentityStore = (directory: string): IdentityStore => {
  const path = join(directory, 'identity.json');
  return {
    async read() {
      try {
        const stored = StoredIdentity.safeParse(JSON.parse(await readFile(path, 'utf8')));
        return stored.success ? stored.data : null;
      } catch (error) {
        // A file that is missing or was cut short is no identity; the agent then joins with its token.
        if (error instanceof SyntaxError || isMissing(error)) return null;
        throw error;
      }
    },
    async write(identity) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const file = await open(`${path}.new`, 'w', 0o600);
      try {
        await file.writeFile(JSON.stringify(identity));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.new`, path);
    },
  };
};

export const memoryIdentityStore = (): IdentityStore => {
  let kept: LinkIdentity | null = null;
  return {
    read: async () => kept,
    write: async (identity) => {
      kept = identity;
    },
  };
};

const isMissing = (error: unknown): boolean => typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT';

export type CertificateKind = PeerKind | 'management';
const certificateKinds: readonly string[] = [...peerKindNames, 'management'];
const isCertificateKind = (kind: string): kind is CertificateKind => certificateKinds.includes(kind);

export const identityUri = (kind: CertificateKind, id: string): string => `nephos://${kind}/${id}`;

/** Reads `URI:nephos://<kind>/<uuid>` out of a certificate's alternative names. A certificate that names two is of nobody. */
export function peerOfNames(subjectAltName: string | undefined): { kind: CertificateKind; id: string } | null {
  const uris = (subjectAltName ?? '').split(', ').filter((name) => name.startsWith('URI:'));
  const match = /^URI:nephos:\/\/([a-z-]+)\/([0-9a-f-]+)$/.exec(uris[0] ?? '');
  const [, kind, id] = match ?? [];
  if (uris.length !== 1 || kind === undefined || id === undefined) return null;
  return isCertificateKind(kind) && UUID_PATTERN.test(id) ? { kind, id } : null;
}

export const peerOf = (certificate: PeerCertificate): { kind: CertificateKind; id: string } | null =>
  peerOfNames(certificate.subjectaltname);

const TLS_MIN = 'TLSv1.3';
/** Reading keys and certificates takes longer than the rest of a connection, and an agent whose server is away dials every few seconds. */
const contexts = new WeakMap<LinkIdentity, SecureContext>();
function contextOf(identity: LinkIdentity): SecureContext {
  const known = contexts.get(identity);
  if (known !== undefined) return known;
  const { keyPem, certificatePem, caPem } = identity;
  const context = createSecureContext({ key: keyPem, cert: certificatePem, ca: caPem, minVersion: TLS_MIN });
  contexts.set(identity, context);
  return context;
}

/**
 * For a client. The far end is known by the URI in its certificate, not by the name or address it was dialled at: servers move and
 * routers dial a relay.
 */
export const clientTls = (identity: LinkIdentity, expect: { kind: CertificateKind; id?: string }): ConnectionOptions => ({
  secureContext: contextOf(identity),
  // Not read again, but a pool of connections tells by them whose connection is whose.
  key: identity.keyPem,
  cert: identity.certificatePem,
  ca: identity.caPem,
  minVersion: TLS_MIN,
  rejectUnauthorized: true,
  checkServerIdentity: (_host, certificate) => {
    const peer = peerOf(certificate);
    if (peer !== null && peer.kind === expect.kind && (expect.id === undefined || expect.id === peer.id)) return undefined;
    return new CloudError('Unauthenticated', `the server's certificate is not that of a ${expect.kind}`, {
      names: certificate.subjectaltname,
    });
  },
});

/** For a server that wants a certificate of every client. The caller still checks `peerOf` for the kind it serves. */
export const serverTls = (identity: LinkIdentity): TlsOptions => ({
  key: identity.keyPem,
  cert: identity.certificatePem,
  ca: identity.caPem,
  minVersion: TLS_MIN,
  requestCert: true,
  rejectUnauthorized: true,
});

/** When a certificate should be replaced: two thirds into its life. Milliseconds since 1970. */
export function renewalTime(certificatePem: string): number {
  const certificate = new X509Certificate(certificatePem);
  const from = Date.parse(certificate.validFrom);
  return from + ((Date.parse(certificate.validTo) - from) * 2) / 3;
}
