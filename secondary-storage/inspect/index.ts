/** Whether an image is what it was said to be, whole in itself and harmless to convert. Reads headers only; opens nothing that they name. */
import type { imageFormats } from '../../protocol/messages/image.ts';
import { detectFormats } from './detect.ts';
import { type ImageFile, type Inspected, type Inspector, unacceptable } from './image-file.ts';
import { inspectIso } from './iso.ts';
import { inspectQcow2 } from './qcow2.ts';
import { inspectVhd } from './vhd.ts';
import { inspectVhdx } from './vhdx.ts';
import { inspectVmdk } from './vmdk.ts';

export type ImageFormat = (typeof imageFormats)[number];

const inspectRaw: Inspector = async (file) => {
  if (file.sizeBytes % 512 !== 0) throw unacceptable('the file is not a RAW disk: its length is not a number of sectors');
  return { virtualSizeBytes: file.sizeBytes };
};
const inspectOva: Inspector = async () => {
  throw unacceptable('OVA packages are not accepted; register the disk inside it (VMDK) instead');
};

const inspectors = {
  QCOW2: inspectQcow2,
  RAW: inspectRaw,
  VHD: inspectVhd,
  VHDX: inspectVhdx,
  VMDK: inspectVmdk,
  OVA: inspectOva,
  ISO: inspectIso,
} satisfies Record<ImageFormat, Inspector>;

/** `virtualSizeBytesMax` keeps a small file from becoming a large disk. */
export async function inspectImage(file: ImageFile, format: ImageFormat, virtualSizeBytesMax: number): Promise<Inspected> {
  const found = await detectFormats(file);
  const others = found.filter((name) => name !== format);
  // A file that two programs would read as two different things is refused, whichever of them was declared.
  if (others.length > 0 && !(format === 'OVA' && others[0] === 'tar'))
    throw unacceptable(`the file was declared as ${format} but ${found.includes(format) ? 'is also' : 'is'} ${others.join(' and ')}`);
  const inspected = await inspectors[format](file);
  if (inspected.virtualSizeBytes === 0) throw unacceptable('the image holds an empty disk');
  if (inspected.virtualSizeBytes > virtualSizeBytesMax)
    throw unacceptable(`the disk in the image has ${inspected.virtualSizeBytes} bytes; at most ${virtualSizeBytesMax} are allowed`);
  return inspected;
}
