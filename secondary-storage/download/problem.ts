/** What can go wrong while an image is fetched: what may pass by itself, and what will be the same next time. */
import { CloudError } from '../../protocol/errors.ts';

/** Worth another try, now or later; what has arrived so far is kept. */
export const passing = (sentence: string, cause?: unknown): CloudError => new CloudError('Unreachable', sentence, { cause });
/** The image is refused; nothing of it is kept. */
export const refused = (sentence: string, cause?: unknown): CloudError => new CloudError('InvalidParameter', sentence, { cause });

export const isPassing = (error: unknown): boolean =>
  error instanceof CloudError && (error.code === 'Unreachable' || error.code === 'Timeout');

const codeOf = (error: unknown): string => {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string') return error.code;
  return '';
};

const TLS_SENTENCES: Record<string, string> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by nobody known',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by nobody known',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is signed by nobody known',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by nobody known',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  CERT_REVOKED: 'its certificate was revoked',
};

/** A sentence for what Node says of a connection to `host`. */
export function connectionProblem(error: unknown, host: string): CloudError {
  if (error instanceof CloudError) return error;
  const code = codeOf(error);
  if (code in TLS_SENTENCES) return refused(`the server ${host} cannot be trusted: ${TLS_SENTENCES[code]}`, error);
  if (code === 'ENOTFOUND') return passing(`the name ${host} cannot be resolved`, error);
  if (code === 'EAI_AGAIN') return passing(`the name ${host} cannot be resolved now: no name server answers`, error);
  if (code === 'ECONNREFUSED') return passing(`the server ${host} refuses the connection`, error);
  if (code === 'ENETUNREACH' || code === 'EHOSTUNREACH') return passing(`there is no way to the server ${host}`, error);
  if (code === 'ETIMEDOUT') return passing(`the server ${host} does not answer`, error);
  if (code.startsWith('ERR_SSL') || code === 'EPROTO') return refused(`the server ${host} does not speak TLS as it should`, error);
  if (code.startsWith('HPE_')) return refused(`the server ${host} does not speak HTTP as it should`, error);
  return passing(`the connection to the server ${host} broke`, error);
}
