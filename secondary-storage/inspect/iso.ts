/** ISO 9660, and UDF as it stands on optical media. Hosts attach it as plain bytes, so only its being one matters. */
import { type Inspector, unacceptable } from './image-file.ts';

const SECTOR_BYTES = 2048;
const DESCRIPTORS_MAX = 64;

export const inspectIso: Inspector = async (file) => {
  for (let sector = 16; sector < 16 + DESCRIPTORS_MAX; sector += 1) {
    if ((sector + 1) * SECTOR_BYTES > file.sizeBytes) break;
    const descriptor = await file.read(sector * SECTOR_BYTES, SECTOR_BYTES);
    const name = descriptor.toString('latin1', 1, 6);
    if (name === 'NSR02' || name === 'NSR03') return { virtualSizeBytes: file.sizeBytes };
    if (name === 'BEA01' || name === 'TEA01' || name === 'BOOT2') continue;
    if (name !== 'CD001') break;
    const type = descriptor.readUInt8(0);
    if (type === 255) continue;
    if (type !== 1) continue;
    const blocks = descriptor.readUInt32LE(80);
    const blockBytes = descriptor.readUInt16LE(128);
    if (blocks !== descriptor.readUInt32BE(84) || ![512, 1024, 2048].includes(blockBytes))
      throw unacceptable('the ISO is damaged: its first descriptor contradicts itself');
    // Many writers pad or cut the last few sectors; a file that lacks more was not downloaded whole.
    if (blocks * blockBytes > file.sizeBytes + 300 * SECTOR_BYTES) throw unacceptable('the ISO is not whole: it is shorter than it says');
    return { virtualSizeBytes: file.sizeBytes };
  }
  throw unacceptable('the file is not an ISO image');
};
