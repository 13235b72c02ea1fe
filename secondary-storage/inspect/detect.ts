/** What a file really is, by the marks that programs look for. Used to refuse what is not what it was said to be, never to choose a format. */
import { type ImageFile, readUpTo } from './image-file.ts';

interface Mark {
  readonly name: string;
  /** From the file's beginning, or from its end when negative. */
  readonly offset: number;
  readonly bytes: Buffer;
}
const mark = (name: string, offset: number, text: string): Mark => ({ name, offset, bytes: Buffer.from(text, 'latin1') });

const marks: readonly Mark[] = [
  mark('QCOW2', 0, 'QFI\xfb'),
  mark('QED', 0, 'QED\0'),
  mark('VMDK', 0, 'KDMV'),
  mark('VMDK', 0, 'COWD'),
  mark('VMDK', 0, 'SESparse'),
  mark('VMDK', 0, '\xbe\xba\xfe\xca'),
  mark('VMDK descriptor', 0, '# Disk Descriptor'),
  mark('VHDX', 0, 'vhdxfile'),
  mark('VHD', 0, 'conectix'),
  mark('VHD', -512, 'conectix'),
  mark('VHD', -511, 'conectix'),
  mark('VDI', 0x40, '\x7f\x10\xda\xbe'),
  mark('LUKS', 0, 'LUKS\xba\xbe'),
  mark('Parallels', 0, 'WithoutFreeSpace'),
  mark('Parallels', 0, 'WithouFreSpacExt'),
  mark('Bochs', 0, 'Bochs Virtual HD Image'),
  mark('cloop', 0, '#!/bin/sh\n#V2.0 Format'),
  mark('DMG', -512, 'koly'),
  mark('ISO', 0x8001, 'CD001'),
  mark('ISO', 0x8001, 'BEA01'),
  mark('gzip', 0, '\x1f\x8b'),
  mark('bzip2', 0, 'BZh'),
  mark('xz', 0, '\xfd7zXZ\0'),
  mark('zstd', 0, '\x28\xb5\x2f\xfd'),
  mark('lz4', 0, '\x04\x22\x4d\x18'),
  mark('ZIP', 0, 'PK\x03\x04'),
  mark('7z', 0, '7z\xbc\xaf\x27\x1c'),
  mark('tar', 257, 'ustar'),
];
const webPage = /^(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|\?xml)/i;
const metalink = /<metalink[\s>]/i;

/** Every format whose mark the file carries; a file may carry several. */
export async function detectFormats(file: ImageFile): Promise<readonly string[]> {
  const head = await readUpTo(file, 0, 0x8010);
  const tail = await readUpTo(file, Math.max(0, file.sizeBytes - 512), 512);
  const found = marks.filter(({ offset, bytes }) => {
    const place = offset >= 0 ? head.subarray(offset) : tail.subarray(Math.max(0, tail.length + offset));
    return place.subarray(0, bytes.length).equals(bytes);
  });
  const text = head.toString('latin1', 0, 1024);
  return [...new Set([...found.map(({ name }) => name), ...(webPage.test(text) ? [metalink.test(text) ? 'metalink' : 'web page'] : [])])];
}
