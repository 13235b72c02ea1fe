// Writes the "newc" archive format that the Linux kernel unpacks as its first root file system.
import { Buffer } from 'node:buffer';

export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode?: number }
  | { readonly kind: 'file'; readonly path: string; readonly content: Uint8Array; readonly mode?: number }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | {
      readonly kind: 'character device';
      readonly path: string;
      readonly major: number;
      readonly minor: number;
      readonly mode?: number;
    };

const DIRECTORY = 0o040000;
const FILE = 0o100000;
const LINK = 0o120000;
const CHARACTER_DEVICE = 0o020000;

type Record = {
  readonly mode: number;
  readonly content: Uint8Array;
  readonly major: number;
  readonly minor: number;
};

function recordOf(entry: CpioEntry): Record {
  switch (entry.kind) {
    case 'directory':
      return { mode: DIRECTORY | (entry.mode ?? 0o755), content: Buffer.alloc(0), major: 0, minor: 0 };
    case 'file':
      return { mode: FILE | (entry.mode ?? 0o644), content: entry.content, major: 0, minor: 0 };
    case 'link':
      return { mode: LINK | 0o777, content: Buffer.from(entry.target), major: 0, minor: 0 };
    case 'character device':
      return {
        mode: CHARACTER_DEVICE | (entry.mode ?? 0o600),
        content: Buffer.alloc(0),
        major: entry.major,
        minor: entry.minor,
      };
  }
}

function padded(chunk: Uint8Array): Buffer {
  return Buffer.concat([chunk, Buffer.alloc((4 - (chunk.length % 4)) % 4)]);
}

function member(path: string, inode: number, record: Record): Buffer {
  const name = Buffer.from(`${path}\0`);
  const fields = [
    inode,
    record.mode,
    0, // owner
    0, // group
    1, // links
    0, // modification time: always the epoch, so that equal content gives equal bytes
    record.content.length,
    0,
    0, // device the file is on
    record.major,
    record.minor,
    name.length,
    0, // checksum, unused in this variant
  ];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([padded(Buffer.concat([Buffer.from(header), name])), padded(record.content)]);
}

/** The archive's bytes. Paths are relative; a folder has to come before what it contains, as the kernel creates none by itself. */
export function cpio(entries: readonly CpioEntry[]): Buffer {
  const members = entries.map((entry, index) => member(entry.path, index + 1, recordOf(entry)));
  return Buffer.concat([...members, member('TRAILER!!!', 0, { mode: 0, content: Buffer.alloc(0), major: 0, minor: 0 })]);
}
