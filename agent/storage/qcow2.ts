/** Reads the header of our own qcow2 files. What a file refers to is decided here, before QEMU or libvirt see it. */
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';

export interface Qcow2Header {
  readonly virtualSizeBytes: number;
  /** The name of the backing file as it is written in the header. */
  readonly backing: string | null;
}

const MAGIC = 0x51_46_49_fb;
const HEADER_BYTES = 112;
const BACKING_NAME_BYTES_MAX = 1023;
/** Incompatible features that change where data lie: an external data file is bit 2. Dirty (0), corrupt (1), compression (3) and extended L2 (4) do not. */
const FEATURES_ALLOWED = 0b11011n;

export async function readQcow2Header(path: string): Promise<Qcow2Header> {
  const wrong = (why: string): CloudError => new CloudError('ResourceUnavailable', `${basename(path)} is not a usable image: ${why}`);
  const file = await open(path, 'r');
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0);
    if (bytesRead < 72 || header.readUInt32BE(0) !== MAGIC) throw wrong('it is not qcow2');
    const version = header.readUInt32BE(4);
    if (version !== 2 && version !== 3) throw wrong('its version is unknown');
    if (header.readUInt32BE(32) !== 0) throw wrong('it is encrypted');
    if (version === 3 && (header.readBigUInt64BE(72) & ~FEATURES_ALLOWED) !== 0n) throw wrong('it needs features that are not allowed');
    const size = header.readBigUInt64BE(24);
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw wrong('its size is impossible');
    const nameAt = header.readBigUInt64BE(8);
    const nameBytes = header.readUInt32BE(16);
    if (nameAt === 0n) return { virtualSizeBytes: Number(size), backing: null };
    if (nameAt > 65_536n || nameBytes === 0 || nameBytes > BACKING_NAME_BYTES_MAX) throw wrong('its backing file is impossible');
    const name = Buffer.alloc(nameBytes);
    const read = await file.read(name, 0, nameBytes, Number(nameAt));
    if (read.bytesRead !== nameBytes) throw wrong('it is cut short');
    return { virtualSizeBytes: Number(size), backing: name.toString('utf8') };
  } finally {
    await file.close();
  }
}
