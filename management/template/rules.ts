/** Rules on templates and ISOs, without a database. */
import { CloudError } from '../../protocol/errors.ts';
import type { DownloadState } from '../../protocol/states/template.ts';
import type { ImageStoreRow } from './entities.ts';

const URL_LENGTH_MAX = 2048;

/** The URL as it will be fetched. Where it leads is checked by the secondary storage VM, at the time of fetching and at every redirect. */
export function checkUrl(text: string): string {
  const trimmed = text.trim();
  if (trimmed.length > URL_LENGTH_MAX) throw new CloudError('InvalidParameter', `the URL is longer than ${URL_LENGTH_MAX} characters`);
  if (!URL.canParse(trimmed))
    throw new CloudError('InvalidParameter', 'the URL is not one; give it as http://host/path or https://host/path');
  const { protocol, username, password, hostname, href } = new URL(trimmed);
  if (protocol !== 'http:' && protocol !== 'https:')
    throw new CloudError('InvalidParameter', `templates and ISOs are fetched by http and https only, not by ${protocol.slice(0, 20)}`);
  // It would stand in the database and in replies.
  if (username !== '' || password !== '') throw new CloudError('InvalidParameter', 'the URL must not hold a user name or password');
  if (hostname === '') throw new CloudError('InvalidParameter', 'the URL names no host');
  if (href.length > URL_LENGTH_MAX) throw new CloudError('InvalidParameter', `the URL is longer than ${URL_LENGTH_MAX} characters`);
  return href;
}

const DIGITS: Readonly<Record<string, number>> = { MD5: 32, SHA1: 40, SHA224: 56, SHA256: 64, SHA384: 96, SHA512: 128 };

/** `{SHA-256}hex`, or hexadecimal alone whose length tells the algorithm. */
export function checkChecksum(text: string): string {
  const trimmed = text.trim();
  const match = /^(?:\{([A-Za-z0-9-]+)\})?([0-9A-Fa-f]+)$/.exec(trimmed);
  const named = match?.[1]?.toUpperCase().replaceAll('-', '');
  const length = match?.[2]?.length ?? 0;
  const fits = match !== null && (named === undefined ? Object.values(DIGITS).includes(length) : DIGITS[named] === length);
  if (!fits) {
    throw new CloudError(
      'InvalidParameter',
      'the checksum must be hexadecimal of the length of MD5, SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512, if wanted after the algorithm in braces, such as {SHA-256}',
    );
  }
  return trimmed;
}

const ERROR_LENGTH_MAX = 1024;
const MINUTE = 60;
/** Between one round of a download and the next. All of them take half a day, after which nobody waits any more. */
const ROUND_SECONDS = [1, 2, 5, 10, 20, 30, 60, 60, 60, 120, 120, 240].map((minutes) => minutes * MINUTE);
/** What may be otherwise the next time: a server, a name server, a store or a sandbox that is away, a store that is full. */
const passingCodes: readonly CloudError['code'][] = [
  'Unreachable',
  'Timeout',
  'Unavailable',
  'ResourceUnavailable',
  'InsufficientStorage',
  'Conflict',
];

/** How long to wait before a download that failed is tried again; null when it would be the same again, or was tried often enough. */
export const secondsToNextRound = (error: CloudError, round: number): number | null =>
  passingCodes.includes(error.code) ? (ROUND_SECONDS[round] ?? null) : null;

/** For whoever looks at the template. */
export const failureText = ({ message }: CloudError, again: Date | null): string => {
  const later = again === null ? '' : `; it is tried again at ${again.toISOString().slice(11, 16)} UTC`;
  return `${message.slice(0, ERROR_LENGTH_MAX - later.length)}${later}`;
};

interface Progress {
  readonly state: DownloadState;
  readonly percent: number;
  readonly error: string | null;
}

/** In the words clients look for. A file that has arrived whole is being checked and converted. */
export function statusText({ state, percent, error }: Progress): string {
  if (state === 'DOWNLOADED') return 'Download Complete';
  if (state === 'DOWNLOAD_IN_PROGRESS') {
    const progress = percent >= 100 ? 'Installing Template' : `${percent}% Downloaded`;
    return error === null ? progress : `${progress}; trying again: ${error}`;
  }
  if (state === 'NOT_DOWNLOADED') return 'Processing';
  return error ?? state;
}

/** 100 only when all of it is there; 0 while the size is not known. */
export function percentOf({
  receivedBytes,
  totalBytes,
  phase,
}: {
  receivedBytes: number;
  totalBytes: number | null;
  phase: 'downloading' | 'checking' | 'converting';
}): number {
  if (phase !== 'downloading') return 100;
  if (!totalBytes) return 0;
  return Math.min(99, Math.floor((receivedBytes * 100) / totalBytes));
}

type Room = Pick<ImageStoreRow, 'id' | 'readOnly' | 'totalBytes' | 'usedBytes'>;
/** The writable store with the most room; one that was not measured yet comes last. */
export function chooseStore<S extends Room>(stores: readonly S[]): S | null {
  const free = ({ totalBytes, usedBytes }: Room) => (totalBytes === null || usedBytes === null ? -1 : totalBytes - usedBytes);
  const [best] = stores.filter(({ readOnly }) => !readOnly).sort((a, b) => free(b) - free(a) || (a.id < b.id ? -1 : 1));
  return best ?? null;
}
