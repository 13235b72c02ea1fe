/** VHD: fixed and dynamic disks; a differencing disk refers to its parent's file. */
import { type ImageFile, type Inspector, safeNumber, unacceptable } from './image-file.ts';

const FOOTER_BYTES = 512;
const COOKIE = 'conectix';
const types = { fixed: 2, dynamic: 3 } as const;

/** The sum of all bytes but the sum itself, its bits turned. */
function sumOf(bytes: Buffer, at: number): number {
  let sum = 0;
  for (const [index, byte] of bytes.entries()) if (index < at || index >= at + 4) sum += byte;
  return ~sum >>> 0;
}

function readFooter(footer: Buffer): { type: number; sizeBytes: number; dataOffset: bigint } {
  if (footer.readUInt32BE(64) !== sumOf(footer, 64)) throw unacceptable('the image is damaged: its footer does not add up');
  const type = footer.readUInt32BE(60);
  if (type !== types.fixed && type !== types.dynamic)
    throw unacceptable(type === 4 ? 'the image refers to a parent; make it whole first' : 'the image is a VHD of a kind that is not known');
  return { type, sizeBytes: safeNumber(footer.readBigUInt64BE(48), 'size'), dataOffset: footer.readBigUInt64BE(16) };
}

async function checkDynamic(file: ImageFile, dataOffset: bigint, sizeBytes: number): Promise<void> {
  const header = await file.read(safeNumber(dataOffset, 'header offset'), 1024);
  if (header.toString('latin1', 0, 8) !== 'cxsparse') throw unacceptable('the image is damaged: it has no header');
  if (header.readUInt32BE(36) !== sumOf(header, 36)) throw unacceptable('the image is damaged: its header does not add up');
  // Parent's id, name and eight places where its file might be.
  if (header.subarray(40, 56).some((byte) => byte !== 0) || header.subarray(576, 768).some((byte) => byte !== 0))
    throw unacceptable('the image refers to a parent; make it whole first');
  const tableOffset = safeNumber(header.readBigUInt64BE(16), 'table offset');
  const entries = header.readUInt32BE(28);
  const blockBytes = header.readUInt32BE(32);
  if (blockBytes < 512 || (blockBytes & (blockBytes - 1)) !== 0) throw unacceptable('the image is damaged: its block size cannot be');
  if (entries * blockBytes < sizeBytes) throw unacceptable('the image is damaged: its table is too small for its size');
  if (tableOffset + entries * 4 > file.sizeBytes) throw unacceptable('the image is damaged: it points outside itself');
}

export const inspectVhd: Inspector = async (file) => {
  const first = await file.read(0, FOOTER_BYTES);
  const last = await file.read(file.sizeBytes - FOOTER_BYTES, FOOTER_BYTES);
  const hasFirst = first.toString('latin1', 0, 8) === COOKIE;
  if (last.toString('latin1', 0, 8) !== COOKIE) throw unacceptable('the image is not VHD, or was cut short');
  const footer = readFooter(last);
  if (hasFirst) {
    // Some readers look at the beginning, some at the end: both must see the same disk.
    const copy = readFooter(first);
    if (copy.type !== footer.type || copy.sizeBytes !== footer.sizeBytes || copy.dataOffset !== footer.dataOffset)
      throw unacceptable('the image is damaged: its two footers differ');
  }
  if (footer.type === types.dynamic) {
    if (!hasFirst) throw unacceptable('the image is damaged: the copy of its footer is missing');
    await checkDynamic(file, footer.dataOffset, footer.sizeBytes);
  } else if (hasFirst || footer.sizeBytes > file.sizeBytes - FOOTER_BYTES)
    throw unacceptable('the image is damaged: it is not as long as it says');
  return { virtualSizeBytes: footer.sizeBytes };
};
