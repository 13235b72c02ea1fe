/**
 * Tells a user's own doing from what the browser sends by itself. A blinking cursor makes the browser ask for updates for ever; only
 * keys, pointer and clipboard show that somebody is there.
 */

interface Rule {
  /** Bytes, the type included, from which the length of the rest can be told. */
  readonly headerBytes: number;
  readonly rest: (header: Buffer) => number;
  readonly input: boolean;
}
const fixed = (totalBytes: number, input = false): Rule => ({ headerBytes: 1, rest: () => totalBytes - 1, input });

const rules = new Map<number, Rule>([
  [0, fixed(20)],
  [2, { headerBytes: 4, rest: (header) => 4 * header.readUInt16BE(2), input: false }],
  [3, fixed(10)],
  [4, fixed(8, true)],
  // The highest button bit marks the longer message that carries more buttons.
  [5, { headerBytes: 2, rest: (header) => (header.readUInt8(1) & 0x80 ? 5 : 4), input: true }],
  // A negative length marks an extended clipboard message.
  [6, { headerBytes: 8, rest: (header) => Math.abs(header.readInt32BE(4)), input: true }],
  [150, fixed(10)],
  [248, { headerBytes: 9, rest: (header) => header.readUInt8(8), input: false }],
  [250, fixed(4, true)],
  [251, { headerBytes: 8, rest: (header) => 16 * header.readUInt8(6), input: false }],
  // QEMU's own: a key with its scan code.
  [255, { headerBytes: 2, rest: (header) => (header.readUInt8(1) === 0 ? 10 : -1), input: true }],
]);

/** A function that is fed the bytes after ClientInit, in pieces of any size, and says whether a user's doing began in them. */
export function clientInput(): (chunk: Buffer) => boolean {
  const header = Buffer.alloc(16);
  let filled = 0;
  let rest = 0;
  let lost = false;
  return (chunk) => {
    let input = false;
    let offset = 0;
    while (!lost && offset < chunk.length) {
      if (rest > 0) {
        const skipped = Math.min(rest, chunk.length - offset);
        rest -= skipped;
        offset += skipped;
        continue;
      }
      header[filled++] = chunk[offset++] ?? 0;
      const rule = rules.get(header[0] ?? 0);
      if (rule === undefined) {
        lost = true;
        break;
      }
      if (filled < rule.headerBytes) continue;
      filled = 0;
      rest = rule.rest(header);
      if (rest < 0) lost = true;
      if (rule.input) input = true;
    }
    // A message that is not known here has no known end: from then on every byte counts as the user's.
    return lost || input;
  };
}
