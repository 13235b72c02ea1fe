/**
 * Proof that whoever asks for a certificate holds the private key. It signs material exported from the very TLS connection it travels
 * on, so it is worth nothing on any other connection and needs no extra question and answer.
 */
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { CloudError } from '../errors.ts';

export interface KeyClaim {
  readonly purpose: 'join' | 'renew';
  readonly kind: string;
  readonly id: string;
  /** DER of the SubjectPublicKeyInfo, base64. */
  readonly publicKey: string;
  /** The join token; empty when renewing. */
  readonly token: string;
}

const LABEL = 'EXPORTER-nephos-key-proof';

const signedBytes = (socket: TLSSocket, { purpose, kind, id, publicKey, token }: KeyClaim): Buffer => {
  const tokenHash = createHash('sha256').update(token).digest('hex');
  const exported = socket.exportKeyingMaterial(32, LABEL, Buffer.alloc(0));
  return Buffer.concat([exported, Buffer.from(['nephos', purpose, kind, id, tokenHash, publicKey].join('\n'))]);
};

export const proveKey = (socket: TLSSocket, claim: KeyClaim, privateKey: KeyObject): string =>
  sign('sha256', signedBytes(socket, claim), privateKey).toString('base64');

/** Gives the key when it is a P-256 key and the proof is by it; throws otherwise. */
export function checkKeyProof(socket: TLSSocket, claim: KeyClaim, proof: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(claim.publicKey, 'base64'), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new CloudError('MalformedParameter', 'the public key cannot be read', { cause });
  }
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new CloudError('InvalidParameter', 'the public key must be on the curve P-256');
  }
  if (!verify('sha256', signedBytes(socket, claim), key, Buffer.from(proof, 'base64'))) {
    throw new CloudError('Unauthenticated', 'the proof of the private key is not valid');
  }
  return key;
}
