/** VMDK: only those whose one extent is the file itself. A descriptor may name any file of the machine that reads it. */
import { type ImageFile, type Inspector, safeNumber, unacceptable } from './image-file.ts';

const SECTOR_BYTES = 512;
const DESCRIPTOR_SECTORS_MAX = 2048;
const GRAIN_DIRECTORY_AT_END = 0xffffffffffffffffn;
const createTypes = ['monolithicSparse', 'streamOptimized'];

interface SparseHeader {
  readonly capacitySectors: number;
  readonly descriptorOffset: number;
  readonly descriptorSectors: number;
  readonly grainDirectory: bigint;
}

async function readHeader(file: ImageFile, position: number): Promise<SparseHeader> {
  const header = await file.read(position, SECTOR_BYTES);
  if (header.toString('latin1', 0, 4) !== 'KDMV') throw unacceptable('the image is not VMDK of one sparse file');
  const version = header.readUInt32LE(4);
  if (version < 1 || version > 3) throw unacceptable(`the image is of VMDK version ${version}, which is not accepted`);
  const capacitySectors = safeNumber(header.readBigUInt64LE(12), 'size');
  // Readers take a header without a capacity for a mere envelope of a descriptor, and open what that names.
  if (capacitySectors === 0) throw unacceptable('the image holds only a description of other files');
  const grainSectors = safeNumber(header.readBigUInt64LE(20), 'grain size');
  if (grainSectors < 1 || grainSectors > 2048) throw unacceptable('the image is damaged: its grain size cannot be');
  if (header.readUInt32LE(44) > 512) throw unacceptable('the image is damaged: its tables are too large');
  if (header.readUInt16LE(77) > 1) throw unacceptable('the image is compressed in a way that is not known');
  return {
    capacitySectors,
    descriptorOffset: safeNumber(header.readBigUInt64LE(28), 'descriptor'),
    descriptorSectors: safeNumber(header.readBigUInt64LE(36), 'descriptor'),
    grainDirectory: header.readBigUInt64LE(56),
  };
}

function checkDescriptor(text: string, capacitySectors: number): void {
  const lines = text
    .replace(/\0[\s\S]*$/, '')
    .split(/\r?\n/)
    .map((line) => line.trim());
  const valuesOf = (key: string): string[] =>
    lines.flatMap((line) => {
      const match = /^([A-Za-z0-9_.]+)\s*=\s*"?([^"]*)"?$/.exec(line);
      return match?.[1]?.toLowerCase() === key.toLowerCase() ? [match[2] ?? ''] : [];
    });
  const [createType, ...otherTypes] = valuesOf('createType');
  if (createType === undefined || otherTypes.length > 0 || !createTypes.includes(createType))
    throw unacceptable(`the image is a VMDK of type ${createType ?? 'unknown'}; only ${createTypes.join(' and ')} are accepted`);
  if (valuesOf('parentCID').some((parent) => !/^f{8}$/i.test(parent)) || /parentFileNameHint/i.test(text))
    throw unacceptable('the image refers to a parent; make it whole first');
  const extents = lines.filter((line) => /^(?:RW|RDONLY|NOACCESS)\b/i.test(line));
  const extent = /^(?:RW|RDONLY) (\d+) SPARSE "([^"/\\]+)"(?: 0)?$/.exec(extents[0] ?? '');
  if (extents.length !== 1 || extent === null) throw unacceptable('the image refers to other files');
  if (Number(extent[1]) !== capacitySectors) throw unacceptable('the image is damaged: its size is given twice and differs');
  // Any other word in front of a size and a kind would be an extent to some reader.
  if (lines.some((line) => /\b(?:FLAT|ZERO|VMFS|VMFSSPARSE|VMFSRDM|VMFSRAW|SESPARSE)\b/i.test(line) && !line.startsWith('#')))
    throw unacceptable('the image refers to other files');
}

export const inspectVmdk: Inspector = async (file) => {
  const header = await readHeader(file, 0);
  if (header.descriptorOffset === 0 || header.descriptorSectors < 1 || header.descriptorSectors > DESCRIPTOR_SECTORS_MAX)
    throw unacceptable('the image is damaged: it has no descriptor of its own');
  const descriptor = await file.read(header.descriptorOffset * SECTOR_BYTES, header.descriptorSectors * SECTOR_BYTES);
  checkDescriptor(descriptor.toString('latin1'), header.capacitySectors);
  if (header.grainDirectory === GRAIN_DIRECTORY_AT_END) {
    // The header that counts stands at the end, before the mark of the stream's end.
    const footer = await readHeader(file, file.sizeBytes - 2 * SECTOR_BYTES);
    if (footer.capacitySectors !== header.capacitySectors) throw unacceptable('the image is damaged: its two headers differ');
  }
  return { virtualSizeBytes: header.capacitySectors * SECTOR_BYTES };
};
