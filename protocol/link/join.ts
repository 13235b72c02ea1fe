/**
 * An agent's first contact: it makes its own key and swaps a one-time token for a certificate. The server is believed only when its
 * certificate was signed by the very authority whose SHA-256 came with the token.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { request } from 'node:http';
import { connect, type TLSSocket } from 'node:tls';
import { CloudError } from '../errors.ts';
import type { PeerKind } from '../kinds.ts';
import { parse } from '../schema.ts';
import { splitAddress } from './address.ts';
import { JoinAnswer } from './frame.ts';
import { type LinkIdentity, peerOfNames } from './identity.ts';
import { proveKey } from './key-proof.ts';

export interface JoinOptions {
  readonly server: string;
  readonly kind: PeerKind;
  readonly id: string;
  readonly token: string;
  readonly caSha256: string;
  /** The same key for each try: a token is good for one key, so a reply that was lost can be fetched again. */
  readonly keyPem: string;
  readonly signal: AbortSignal;
}

const ANSWER_BYTES_MAX = 256 * 1024;

export async function join(options: JoinOptions): Promise<LinkIdentity> {
  const { server, kind, id, token, caSha256, keyPem, signal } = options;
  const socket = await connectTo(server, signal);
  try {
    const ca = checkServer(socket, caSha256);
    const privateKey = createPrivateKey(keyPem);
    const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).toString('base64');
    const proof = proveKey(socket, { purpose: 'join', kind, id, publicKey, token }, privateKey);
    const answer = await post(socket, JSON.stringify({ kind, id, token, publicKey, proof }), signal);
    checkAnswer(answer, { kind, id, privateKey, ca });
    return { kind, id, keyPem, certificatePem: answer.certificatePem, caPem: ca.toString(), notAfter: answer.notAfter };
  } finally {
    socket.destroy();
  }
}

function connectTo(server: string, signal: AbortSignal): Promise<TLSSocket> {
  const { host, port } = splitAddress(server);
  return new Promise((resolve, reject) => {
    // The usual check is off because the authority is not known yet; checkServer does it before a byte of ours is sent. Without the empty
    // list node would read all the well-known authorities, for nothing.
    const socket = connect({ host, port, minVersion: 'TLSv1.3', rejectUnauthorized: false, ca: [] });
    const onAbort = (): void => {
      socket.destroy(new CloudError('Timeout', `${server} did not answer in time`));
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('close', () => {
      signal.removeEventListener('abort', onAbort);
      reject(new CloudError('Unreachable', `${server} closed the connection`));
    });
    socket.on('error', reject);
    socket.once('secureConnect', () => resolve(socket));
  });
}

/** The chain is always two certificates long, the authority's and one it signed, so this is the whole of the check. */
function checkServer(socket: TLSSocket, caSha256: string): X509Certificate {
  const leaf = socket.getPeerX509Certificate();
  const ca = leaf?.issuerCertificate;
  const hash = ca === undefined ? '' : createHash('sha256').update(ca.raw).digest('hex');
  if (leaf === undefined || ca === undefined || hash !== caSha256.toLowerCase()) {
    throw new CloudError('Unauthenticated', "the server's certificate is not by the expected authority", { hash });
  }
  const now = Date.now();
  const current = [leaf, ca].every((one) => Date.parse(one.validFrom) <= now && now <= Date.parse(one.validTo));
  if (!current) throw new CloudError('Unauthenticated', "the server's certificate is not valid now; is this machine's clock right?");
  const signed = ca.ca && leaf.checkIssued(ca) && leaf.verify(ca.publicKey) && ca.verify(ca.publicKey);
  if (!signed || peerOfNames(leaf.subjectAltName)?.kind !== 'management') {
    throw new CloudError('Unauthenticated', "the server's certificate is not that of a management server", { names: leaf.subjectAltName });
  }
  return ca;
}

function post(socket: TLSSocket, body: string, signal: AbortSignal): Promise<JoinAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        method: 'POST',
        path: '/join',
        signal,
        createConnection: () => socket,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), host: 'management' },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > ANSWER_BYTES_MAX) response.destroy(new CloudError('MalformedParameter', 'the answer to a join is too large'));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () => {
          try {
            const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
            if (response.statusCode !== 200) throw CloudError.revive(value);
            resolve(parse(JoinAnswer, value, 'join answer'));
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

interface Expected {
  readonly kind: PeerKind;
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly ca: X509Certificate;
}

/** A certificate that does not fit is refused here, where the reason is known, rather than at each later connection. */
export function checkAnswer(answer: JoinAnswer, { kind, id, privateKey, ca }: Expected): void {
  const certificate = new X509Certificate(answer.certificatePem);
  const peer = peerOfNames(certificate.subjectAltName);
  if (peer?.kind !== kind || peer.id !== id || !certificate.checkPrivateKey(privateKey) || !certificate.verify(ca.publicKey)) {
    throw new CloudError('Unauthenticated', 'the certificate that came back is not for this agent', { names: certificate.subjectAltName });
  }
}
