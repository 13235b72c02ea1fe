/**
 * Request signatures of the CloudStack query API: every parameter but `signature`, sorted, values URL-encoded, the whole lower-cased,
 * HMAC-SHA1 with the secret key, Base64. Known clients differ in the order of names and in how they encode `~`, `[` and `]`
 * (docs/wire.md); every form they use is accepted, none of them leaves a parameter unsigned.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { CloudError } from '../../../protocol/errors.ts';
import { readDate } from '../params.ts';
import { setting } from '../settings.ts';

export type NameOrder = 'raw' | 'lower';
const escapes: Readonly<Record<string, string>> = { '!': '%21', "'": '%27', '(': '%28', ')': '%29', '~': '%7E' };

/** Java's form encoding with %20 for a space: unreserved are A-Z a-z 0-9 . - * _ */
export const encodeValue = (value: string): string => encodeURIComponent(value).replace(/[!'()~]/g, (letter) => escapes[letter] ?? letter);

export function stringToSign(
  params: readonly (readonly [string, string])[],
  order: NameOrder,
  encode: (value: string) => string = encodeValue,
): string {
  const key = (name: string) => (order === 'lower' ? name.toLowerCase() : name);
  return params
    .filter(([name]) => name.toLowerCase() !== 'signature')
    .map(([name, value]) => ({ sortBy: key(name), text: `${name}=${encode(value)}` }))
    .sort((a, b) => (a.sortBy < b.sortBy ? -1 : a.sortBy > b.sortBy ? 1 : 0))
    .map(({ text }) => text)
    .join('&')
    .toLowerCase();
}

export const sign = (text: string, secretKey: string): string => createHmac('sha1', secretKey).update(text, 'utf8').digest('base64');

const encodings: readonly ((value: string) => string)[] = [
  encodeValue,
  (value) => encodeValue(value).replaceAll('%7E', '~'),
  (value) => encodeValue(value).replaceAll('%7E', '~').replaceAll('%5B', '[').replaceAll('%5D', ']'),
  (value) => encodeValue(value).replaceAll('%5B', '[').replaceAll('%5D', ']'),
  (value) => encodeValue(value).replaceAll('%7E', '~').replaceAll('*', '%2A'),
];

export function isSigned(params: readonly (readonly [string, string])[], signature: string, secretKey: string): boolean {
  const given = Buffer.from(signature.trim(), 'utf8');
  const texts = new Set(encodings.flatMap((encode) => [stringToSign(params, 'raw', encode), stringToSign(params, 'lower', encode)]));
  // All forms are tried whatever the outcome, so that the time tells nothing.
  let matches = false;
  for (const text of texts) {
    const wanted = Buffer.from(sign(text, secretKey), 'utf8');
    if (wanted.length === given.length && timingSafeEqual(wanted, given)) matches = true;
  }
  return matches;
}

export const enforcePostAndTimestamps = setting.boolean('enforce.post.requests.and.timestamps', false, {
  about: 'Commands that change something are taken by POST only, and signed requests only with an end within 15 minutes.',
});
const EXPIRES_MS_MAX = 15 * 60_000;

/** `signatureversion=3` requires a future `expires`; with any other version, which may be forbidden, it is only signed. */
export function checkExpiry(
  signatureVersion: string | undefined,
  expires: string | undefined,
  now: number,
  { enforced = false }: { enforced?: boolean } = {},
): void {
  if (signatureVersion !== '3') {
    if (enforced) throw new CloudError('BadRequest', 'Signed requests need signatureversion=3 and expires here');
    return;
  }
  const at = expires === undefined ? null : readDate(expires);
  if (!at || at.getTime() < now) throw notVerified();
  if (enforced && at.getTime() > now + EXPIRES_MS_MAX)
    throw new CloudError('BadRequest', 'A signed request may be good for 15 minutes at most');
}

/** Commands that only read, though their names do not begin like it. */
const READS = new Set(
  [
    'isAccountAllowedToCreateOfferingsWithTags',
    'readyForShutdown',
    'cloudianIsEnabled',
    'quotaBalance',
    'quotaSummary',
    'quotaTariffList',
    'quotaIsEnabled',
    'quotaStatement',
    'verifyOAuthCodeAndGetUser',
  ].map((name) => name.toLowerCase()),
);
export const onlyReads = (command: string): boolean => /^(get|list|query|find)\w+$/i.test(command) || READS.has(command.toLowerCase());

/** One text for every failure, so that nobody learns which part was wrong. */
export const notVerified = (): CloudError =>
  new CloudError('Unauthenticated', 'unable to verify user credentials and/or request signature');
