/** QCOW2, by QEMU's docs/interop/qcow2: accepted only when it is whole in itself and every feature it uses is known. */
import { type Inspector, safeNumber, unacceptable } from './image-file.ts';

const extensions = {
  end: 0x00000000,
  backingFormat: 0xe2792aca,
  featureNames: 0x6803f857,
  bitmaps: 0x23852875,
  encryption: 0x0537be77,
  externalData: 0x44415441,
} as const;
/** Dirty and compression type and extended L2 entries; not: corrupt, external data file, anything newer. */
const INCOMPATIBLE_ACCEPTED = 0b11001n;
const CORRUPT = 0b10n;
const EXTERNAL_DATA = 0b100n;
/** Bitmaps; the other one speaks of an external data file. */
const RAW_EXTERNAL = 0b10n;
const L1_BYTES_MAX = 32 * 1024 * 1024;
const SNAPSHOTS_MAX = 1024;

export const inspectQcow2: Inspector = async (file) => {
  const head = await file.read(0, 72);
  if (head.toString('latin1', 0, 4) !== 'QFI\xfb') throw unacceptable('the image is not QCOW2');
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw unacceptable(`the image is of QCOW version ${version}, which is not accepted`);
  if (head.readBigUInt64BE(8) !== 0n || head.readUInt32BE(16) !== 0)
    throw unacceptable('the image refers to a backing file; make it whole first');
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) throw unacceptable('the image is damaged: its cluster size cannot be');
  const clusterBytes = 2 ** clusterBits;
  const virtualSizeBytes = safeNumber(head.readBigUInt64BE(24), 'size');
  if (head.readUInt32BE(32) !== 0) throw unacceptable('the image is encrypted');
  if (head.readUInt32BE(60) > SNAPSHOTS_MAX) throw unacceptable('the image holds too many snapshots');

  let headerBytes = 72;
  let extendedL2 = false;
  if (version === 3) {
    const more = await file.read(72, 32);
    const incompatible = more.readBigUInt64BE(0);
    if (incompatible & EXTERNAL_DATA) throw unacceptable('the image keeps its data in another file');
    if (incompatible & CORRUPT) throw unacceptable('the image is marked as damaged');
    if (incompatible & ~INCOMPATIBLE_ACCEPTED) throw unacceptable('the image uses features that are not known');
    if (more.readBigUInt64BE(16) & RAW_EXTERNAL) throw unacceptable('the image keeps its data in another file');
    extendedL2 = (incompatible & 0b10000n) !== 0n;
    headerBytes = more.readUInt32BE(28);
    if (headerBytes < 104 || headerBytes > clusterBytes || headerBytes % 8 !== 0)
      throw unacceptable('the image is damaged: its header has a length that cannot be');
    if (headerBytes > 104) {
      const compression = (await file.read(104, 8)).readUInt8(0);
      if (compression > 1) throw unacceptable('the image is compressed in a way that is not known');
    }
  }
  // Without version 3's feature bits, QEMU still reads extensions behind the shorter header.
  for (let position = headerBytes; position + 8 <= clusterBytes && position + 8 <= file.sizeBytes; ) {
    const extension = await file.read(position, 8);
    const type = extension.readUInt32BE(0);
    const length = extension.readUInt32BE(4);
    if (type === extensions.end) break;
    if (type === extensions.backingFormat) throw unacceptable('the image refers to a backing file; make it whole first');
    if (type === extensions.externalData) throw unacceptable('the image keeps its data in another file');
    if (type === extensions.encryption) throw unacceptable('the image is encrypted');
    if (type !== extensions.featureNames && type !== extensions.bitmaps)
      throw unacceptable('the image has a header extension that is not known');
    if (length > clusterBytes - position - 8) throw unacceptable('the image is damaged: a header extension is too long');
    position += 8 + Math.ceil(length / 8) * 8;
  }

  const l1Entries = head.readUInt32BE(36);
  const l1Offset = safeNumber(head.readBigUInt64BE(40), 'table offset');
  const refcountOffset = safeNumber(head.readBigUInt64BE(48), 'table offset');
  const refcountClusters = head.readUInt32BE(56);
  const bytesPerL1Entry = clusterBytes * (clusterBytes / (extendedL2 ? 16 : 8));
  if (l1Entries * 8 > L1_BYTES_MAX || refcountClusters * clusterBytes > L1_BYTES_MAX)
    throw unacceptable('the image is damaged: its tables are too large');
  if (l1Entries < Math.ceil(virtualSizeBytes / bytesPerL1Entry))
    throw unacceptable('the image is damaged: its table is too small for its size');
  if (l1Offset % clusterBytes !== 0 || refcountOffset % clusterBytes !== 0 || refcountOffset === 0)
    throw unacceptable('the image is damaged: its tables are not where they must be');
  await file.read(refcountOffset, 8);
  const l1 = await file.read(l1Offset, l1Entries * 8);
  for (let entry = 0; entry < l1Entries; entry += 1) {
    const offset = l1.readBigUInt64BE(entry * 8) & 0x00fffffffffffe00n;
    if (offset === 0n) continue;
    if (offset % BigInt(clusterBytes) !== 0n || offset >= BigInt(file.sizeBytes))
      throw unacceptable('the image is damaged: it points outside itself');
  }
  return { virtualSizeBytes };
};
