import { randomBytes } from 'node:crypto';
import type { Id } from './schema.ts';

let lastMilliseconds = 0;
let sequence = 0;

/**
 * A new UUIDv7 (RFC 9562): 48 bits of time, 12 bits of sequence within the millisecond, 62 random bits. Ids made by one process
 * sort in the order they were made.
 */
export function newId<K extends string>(_kind: K, now: number = Date.now()): Id<K> {
  if (now > lastMilliseconds) {
    lastMilliseconds = now;
    sequence = 0;
  } else if (++sequence > 0xfff) {
    lastMilliseconds += 1;
    sequence = 0;
  }
  const bytes = randomBytes(16);
  bytes.writeUIntBE(lastMilliseconds, 0, 6);
  bytes.writeUInt16BE(0x7000 | sequence, 6);
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}` as Id<K>;
}
