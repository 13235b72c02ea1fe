/** VHDX, by Microsoft's MS-VHDX: whole in itself, cleanly closed, nothing in its metadata that is not known. */
import { type ImageFile, type Inspector, safeNumber, unacceptable } from './image-file.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

const guid = (text: string): string => {
  const parts = text.split('-');
  const reversed = (part: string): string => (part.match(/../g) ?? []).reverse().join('');
  return parts
    .map((part, index) => (index < 3 ? reversed(part) : part))
    .join('')
    .toLowerCase();
};
const regions = { blocks: guid('2DC27766-F623-4200-9D64-115E9BFD4A08'), metadata: guid('8B7CA206-4790-4B9A-B8FE-575F050F886E') };
const items = {
  fileParameters: guid('CAA16737-FA36-4D43-B3B6-33F0AA44E76B'),
  virtualDiskSize: guid('2FA54224-CD1B-4876-B211-5DBED83BF4B8'),
  page83: guid('BECA12AB-B2E6-4523-93EF-C309E000C746'),
  logicalSector: guid('8141BF1D-A96F-4709-BA47-F233A8FAAB5F'),
  physicalSector: guid('CDA348C7-445D-4471-9CC9-E9885251C556'),
  parentLocator: guid('A8D35F2D-B30B-454D-ABF7-D3D84834AB0C'),
};
const HAS_PARENT = 2;

async function checkHeaders(file: ImageFile): Promise<void> {
  const headers = [await file.read(64 * KIB, 4 * KIB), await file.read(128 * KIB, 4 * KIB)].filter(
    (header) => header.toString('latin1', 0, 4) === 'head',
  );
  if (headers.length === 0) throw unacceptable('the image is damaged: it has no header');
  for (const header of headers) {
    if (header.readUInt16LE(66) !== 1) throw unacceptable('the image is of a VHDX version that is not accepted');
    // A log id means that changes still wait in the log.
    if (header.subarray(48, 64).some((byte) => byte !== 0))
      throw unacceptable('the image was not closed cleanly: its log must be replayed first');
  }
}

async function metadataRegion(file: ImageFile, tableOffset: number): Promise<{ offset: number; length: number } | null> {
  const table = await file.read(tableOffset, 64 * KIB);
  if (table.toString('latin1', 0, 4) !== 'regi') return null;
  const count = table.readUInt32LE(8);
  if (count > 2047) throw unacceptable('the image is damaged: its region table is too long');
  let found: { offset: number; length: number } | null = null;
  for (let index = 0; index < count; index += 1) {
    const entry = table.subarray(16 + index * 32, 48 + index * 32);
    const name = entry.toString('hex', 0, 16);
    if (name === regions.metadata)
      found = { offset: safeNumber(entry.readBigUInt64LE(16), 'region offset'), length: entry.readUInt32LE(24) };
    else if (name !== regions.blocks) throw unacceptable('the image has a region that is not known');
  }
  return found;
}

export const inspectVhdx: Inspector = async (file) => {
  if ((await file.read(0, 8)).toString('latin1') !== 'vhdxfile') throw unacceptable('the image is not VHDX');
  await checkHeaders(file);
  const [first, second] = [await metadataRegion(file, 192 * KIB), await metadataRegion(file, 256 * KIB)];
  const region = first ?? second;
  if (region === null) throw unacceptable('the image is damaged: it has no metadata');
  if (second !== null && (second.offset !== region.offset || second.length !== region.length))
    throw unacceptable('the image is damaged: its two region tables differ');
  const table = await file.read(region.offset, 64 * KIB);
  if (table.toString('latin1', 0, 8) !== 'metadata') throw unacceptable('the image is damaged: it has no metadata');
  const count = table.readUInt16LE(10);
  if (count > 2047) throw unacceptable('the image is damaged: its metadata is too long');

  const known: readonly string[] = Object.values(items);
  let virtualSizeBytes: number | null = null;
  for (let index = 0; index < count; index += 1) {
    const entry = table.subarray(32 + index * 32, 64 + index * 32);
    const name = entry.toString('hex', 0, 16);
    if (!known.includes(name)) throw unacceptable('the image has metadata that is not known');
    if (name === items.parentLocator) throw unacceptable('the image refers to a parent; make it whole first');
    const offset = region.offset + entry.readUInt32LE(16);
    if (name === items.fileParameters) {
      const parameters = await file.read(offset, 8);
      if (parameters.readUInt32LE(4) & HAS_PARENT) throw unacceptable('the image refers to a parent; make it whole first');
      const blockBytes = parameters.readUInt32LE(0);
      if (blockBytes < MIB || blockBytes > 256 * MIB || (blockBytes & (blockBytes - 1)) !== 0)
        throw unacceptable('the image is damaged: its block size cannot be');
    }
    if (name === items.virtualDiskSize) virtualSizeBytes = safeNumber((await file.read(offset, 8)).readBigUInt64LE(0), 'size');
  }
  if (virtualSizeBytes === null) throw unacceptable('the image is damaged: it does not say its size');
  return { virtualSizeBytes };
};
