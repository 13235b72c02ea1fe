/**
 * Images for tests: good ones of every kind, and hostile ones that have broken into systems like this. The hostile ones point at a
 * canary, a file whose text must never appear in anything that is made of them.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ImageFormat } from './index.ts';

const run = promisify(execFile);
export const qemuImg = (...commandArguments: string[]): Promise<unknown> => run('qemu-img', commandArguments, { timeout: 30_000 });

export const CANARY = 'CANARY-7d1f-this-file-belongs-to-the-host';
const MIB = 1024 * 1024;

export interface TestImage {
  readonly name: string;
  readonly format: ImageFormat;
  readonly path: string;
}
export interface HostileImage extends TestImage {
  readonly expected: RegExp;
}

/** A disk with some content at both ends. */
async function makeDisk(folder: string): Promise<string> {
  const path = join(folder, 'disk');
  const disk = Buffer.alloc(8 * MIB);
  disk.write('beginning of the disk', 1024);
  disk.write('end of the disk', disk.length - 512);
  await writeFile(path, disk);
  return path;
}

/** The least that is an ISO 9660 image: a primary volume descriptor and the end of descriptors. */
export function smallIso(): Buffer {
  const iso = Buffer.alloc(40 * 2048);
  iso.write('\x01CD001\x01', 16 * 2048, 'latin1');
  iso.writeUInt32LE(40, 16 * 2048 + 80);
  iso.writeUInt32BE(40, 16 * 2048 + 84);
  iso.writeUInt16LE(2048, 16 * 2048 + 128);
  iso.writeUInt16BE(2048, 16 * 2048 + 130);
  iso.write('\xffCD001\x01', 17 * 2048, 'latin1');
  return iso;
}

export async function goodImages(folder: string): Promise<readonly TestImage[]> {
  await mkdir(folder, { recursive: true });
  const disk = await makeDisk(folder);
  const recipes: readonly (readonly [string, ImageFormat, string, string])[] = [
    ['qcow2', 'QCOW2', 'qcow2', 'compat=1.1'],
    ['qcow2 of version 2', 'QCOW2', 'qcow2', 'compat=0.10'],
    ['qcow2 zstd', 'QCOW2', 'qcow2', 'compression_type=zstd'],
    ['qcow2 of small clusters', 'QCOW2', 'qcow2', 'cluster_size=512'],
    ['qcow2 of large clusters', 'QCOW2', 'qcow2', 'cluster_size=2M'],
    ['qcow2 extended', 'QCOW2', 'qcow2', 'extended_l2=on,cluster_size=128k'],
    ['qcow2 preallocated', 'QCOW2', 'qcow2', 'preallocation=metadata'],
    ['vmdk', 'VMDK', 'vmdk', 'subformat=monolithicSparse'],
    ['vmdk stream', 'VMDK', 'vmdk', 'subformat=streamOptimized'],
    ['vhd dynamic', 'VHD', 'vpc', 'subformat=dynamic'],
    ['vhd fixed', 'VHD', 'vpc', 'subformat=fixed,force_size=on'],
    ['vhdx dynamic', 'VHDX', 'vhdx', 'subformat=dynamic'],
    ['vhdx fixed', 'VHDX', 'vhdx', 'subformat=fixed'],
  ];
  const made = await Promise.all(
    recipes.map(async ([name, format, driver, options]): Promise<TestImage> => {
      const path = join(folder, name.replaceAll(' ', '-'));
      await qemuImg('convert', '-f', 'raw', '-O', driver, '-o', options, disk, path);
      return { name, format, path };
    }),
  );
  const bitmap = join(folder, 'qcow2-bitmap');
  await copyFile(join(folder, 'qcow2'), bitmap);
  await qemuImg('bitmap', '--add', '-f', 'qcow2', bitmap, 'b0');
  const iso = join(folder, 'iso');
  await writeFile(iso, smallIso());
  return [
    ...made,
    { name: 'qcow2 with a bitmap', format: 'QCOW2', path: bitmap },
    { name: 'raw', format: 'RAW', path: disk },
    { name: 'iso', format: 'ISO', path: iso },
  ];
}

type Patch = (bytes: Buffer) => Buffer | undefined;

const vmdkDescriptor = (lines: readonly string[]): string =>
  ['# Disk DescriptorFile', 'version=1', 'CID=12345678', 'parentCID=ffffffff', ...lines, ''].join('\n');
/** A sparse VMDK's header with a descriptor behind it. */
function vmdkEnvelope(capacitySectors: number, descriptor: string): Buffer {
  const bytes = Buffer.alloc(64 * 1024);
  bytes.write('KDMV', 0, 'latin1');
  bytes.writeUInt32LE(1, 4);
  bytes.writeUInt32LE(3, 8);
  bytes.writeBigUInt64LE(BigInt(capacitySectors), 12);
  bytes.writeBigUInt64LE(128n, 20);
  bytes.writeBigUInt64LE(1n, 28);
  bytes.writeBigUInt64LE(20n, 36);
  bytes.writeUInt32LE(512, 44);
  bytes.write(descriptor, 512, 'latin1');
  return bytes;
}

/** `canary` is the path of the canary file. */
export async function hostileImages(folder: string, canary: string): Promise<readonly HostileImage[]> {
  await mkdir(folder, { recursive: true });
  const good = await goodImages(join(folder, 'good'));
  const bytesOf = async (name: string): Promise<Buffer> => {
    const found = good.find((image) => image.name === name);
    if (found === undefined) throw new TypeError(`there is no good image ${name}`);
    return readFile(found.path);
  };
  const images: HostileImage[] = [];
  let number = 0;
  const newPath = (): string => join(folder, `hostile-${number++}`);
  const add = async (name: string, format: ImageFormat, bytes: Buffer, expected: RegExp): Promise<void> => {
    const path = newPath();
    await writeFile(path, bytes);
    images.push({ name, format, path, expected });
  };
  const made = async (name: string, format: ImageFormat, expected: RegExp, make: (path: string) => Promise<unknown>): Promise<void> => {
    const path = newPath();
    await make(path);
    images.push({ name, format, path, expected });
  };
  const patched = async (name: string, of: string, format: ImageFormat, expected: RegExp, patch: Patch): Promise<void> => {
    const bytes = Buffer.from(await bytesOf(of));
    await add(name, format, patch(bytes) ?? bytes, expected);
  };

  // QCOW2: other files.
  const backing = /refers to a backing file/;
  const dataFile = /keeps its data in another file/;
  await made('qcow2 on a backing file', 'QCOW2', backing, (path) =>
    qemuImg('create', '-f', 'qcow2', '-u', '-b', canary, '-F', 'raw', path, '8M'),
  );
  await made('qcow2 on a backing file of version 2', 'QCOW2', backing, (path) =>
    qemuImg('create', '-f', 'qcow2', '-u', '-o', 'compat=0.10', '-b', canary, '-F', 'raw', path, '8M'),
  );
  await patched('qcow2 on a json: file', 'qcow2', 'QCOW2', backing, (bytes) => {
    const json = `json:{"driver":"raw","file":{"driver":"file","filename":"${canary}"}}`;
    bytes.writeBigUInt64BE(0x2000n, 8);
    bytes.writeUInt32BE(json.length, 16);
    bytes.write(json, 0x2000, 'latin1');
    return undefined;
  });
  await patched('qcow2 with an empty backing name', 'qcow2', 'QCOW2', backing, (bytes) => void bytes.writeBigUInt64BE(0x2000n, 8));
  await made('qcow2 with an external data file', 'QCOW2', dataFile, (path) =>
    qemuImg('create', '-f', 'qcow2', '-o', `data_file=${path}.data,data_file_raw=on`, path, '8M'),
  );
  await patched('qcow2 naming a json: data file', 'qcow2', 'QCOW2', dataFile, (bytes) => {
    const json = `json:{"driver":"raw","file":{"driver":"file","filename":"${canary}"}}`;
    bytes.writeBigUInt64BE(0b100n, 72);
    const header = bytes.readUInt32BE(100);
    bytes.writeUInt32BE(0x44415441, header);
    bytes.writeUInt32BE(json.length, header + 4);
    bytes.write(json, header + 8, 'latin1');
    return undefined;
  });
  const extension =
    (type: number, text: string): Patch =>
    (bytes) => {
      const header = bytes.readUInt32BE(100);
      bytes.writeUInt32BE(type, header);
      bytes.writeUInt32BE(text.length, header + 4);
      bytes.write(`${text}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0`, header + 8, 'latin1');
      return undefined;
    };
  await patched('qcow2 naming a data file without the feature', 'qcow2', 'QCOW2', dataFile, extension(0x44415441, canary));
  await patched('qcow2 with a backing format alone', 'qcow2', 'QCOW2', backing, extension(0xe2792aca, 'raw'));
  await patched('qcow2 with an unknown extension', 'qcow2', 'QCOW2', /extension that is not known/, extension(0x12345678, 'x'));
  await patched('qcow2 with autoclear raw data', 'qcow2', 'QCOW2', dataFile, (bytes) => void bytes.writeBigUInt64BE(2n, 88));

  // QCOW2: features and damage.
  for (const bit of [5n, 17n, 63n])
    await patched(`qcow2 with unknown feature ${bit}`, 'qcow2', 'QCOW2', /features that are not known/, (bytes) => {
      bytes.writeBigUInt64BE(1n << bit, 72);
      return undefined;
    });
  await patched('qcow2 marked corrupt', 'qcow2', 'QCOW2', /marked as damaged/, (bytes) => void bytes.writeBigUInt64BE(2n, 72));
  await patched('qcow2 with AES', 'qcow2', 'QCOW2', /encrypted/, (bytes) => void bytes.writeUInt32BE(1, 32));
  await patched('qcow2 with LUKS', 'qcow2', 'QCOW2', /encrypted/, (bytes) => void bytes.writeUInt32BE(2, 32));
  await patched('qcow2 with a header of LUKS', 'qcow2', 'QCOW2', /encrypted/, extension(0x0537be77, '0123456789abcdef'));
  await patched('qcow of version 1', 'qcow2', 'QCOW2', /QCOW version 1/, (bytes) => void bytes.writeUInt32BE(1, 4));
  await patched('qcow of version 4', 'qcow2', 'QCOW2', /QCOW version 4/, (bytes) => void bytes.writeUInt32BE(4, 4));
  await patched(
    'qcow2 with an unknown compression',
    'qcow2 zstd',
    'QCOW2',
    /compressed in a way/,
    (bytes) => void bytes.writeUInt8(7, 104),
  );
  await patched('qcow2 with impossible clusters', 'qcow2', 'QCOW2', /cluster size/, (bytes) => void bytes.writeUInt32BE(31, 20));
  await patched(
    'qcow2 with an endless header',
    'qcow2',
    'QCOW2',
    /header has a length/,
    (bytes) => void bytes.writeUInt32BE(0xfffffff8, 100),
  );
  await patched('qcow2 with an endless extension', 'qcow2', 'QCOW2', /extension is too long/, (bytes) => {
    bytes.writeUInt32BE(0x6803f857, bytes.readUInt32BE(100));
    bytes.writeUInt32BE(0xffffffff, bytes.readUInt32BE(100) + 4);
    return undefined;
  });
  await patched(
    'qcow2 with a table outside',
    'qcow2',
    'QCOW2',
    /points outside itself/,
    (bytes) => void bytes.writeBigUInt64BE(1n << 40n, 40),
  );
  await patched('qcow2 with an entry outside', 'qcow2', 'QCOW2', /points outside itself/, (bytes) => {
    bytes.writeBigUInt64BE(1n << 40n, Number(bytes.readBigUInt64BE(40)));
    return undefined;
  });
  await patched(
    'qcow2 with a table of gigabytes',
    'qcow2',
    'QCOW2',
    /tables are too large/,
    (bytes) => void bytes.writeUInt32BE(0x7fffffff, 36),
  );
  await patched(
    'qcow2 with a table too small',
    'qcow2',
    'QCOW2',
    /too small for its size/,
    (bytes) => void bytes.writeBigUInt64BE(1n << 40n, 24),
  );
  await patched(
    'qcow2 with an impossible size',
    'qcow2',
    'QCOW2',
    /its size cannot be/,
    (bytes) => void bytes.writeBigUInt64BE((1n << 63n) - 1n, 24),
  );
  await made('qcow2 bomb', 'QCOW2', /at most \d+ are allowed/, (path) =>
    qemuImg('create', '-f', 'qcow2', '-o', 'cluster_size=2M', path, '60T'),
  );
  await patched('qcow2 cut short', 'qcow2', 'QCOW2', /damaged/, (bytes) => bytes.subarray(0, 60));

  // Declared as RAW, really something else.
  for (const name of ['qcow2', 'vmdk', 'vhd dynamic', 'vhd fixed', 'vhdx dynamic', 'iso'])
    await patched(`raw that is ${name}`, name, 'RAW', /declared as RAW but is /, () => undefined);
  await add(
    'raw that is LUKS',
    'RAW',
    Buffer.concat([Buffer.from('LUKS\xba\xbe\0\x01', 'latin1'), Buffer.alloc(4088)]),
    /declared as RAW but is LUKS/,
  );
  await made('raw that is VDI', 'RAW', /declared as RAW but is VDI/, (path) => qemuImg('create', '-f', 'vdi', path, '2M'));
  await made('raw that is QED', 'RAW', /declared as RAW but is QED/, (path) => qemuImg('create', '-f', 'qed', path, '2M'));
  await add(
    'raw that is a web page',
    'RAW',
    Buffer.from('\n<!DOCTYPE html><title>Login</title>'.padEnd(512)),
    /declared as RAW but is web page/,
  );
  await add('qcow2 that is a web page', 'QCOW2', Buffer.from('<html><body>404</body></html>'), /declared as QCOW2 but is web page/);
  const metalink = `<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="x"><url>file://${canary}</url></file></metalink>`;
  await add('metalink', 'RAW', Buffer.from(metalink.padEnd(512)), /declared as RAW but is metalink/);
  await add('raw that is no disk', 'RAW', Buffer.from('hello'), /not a number of sectors/);
  await add('qcow2 that is text', 'QCOW2', Buffer.from('just a text, longer than any header needs to be. '.repeat(20)), /not QCOW2/);

  // VMDK.
  const flat = vmdkDescriptor(['createType="monolithicFlat"', `RW 16384 FLAT "${canary}" 0`]);
  await add('vmdk descriptor naming a file', 'VMDK', Buffer.from(flat.padEnd(1024, '\n')), /is VMDK descriptor/);
  await add('vmdk envelope without a capacity', 'VMDK', vmdkEnvelope(0, flat), /only a description of other files/);
  await add('vmdk of a flat extent', 'VMDK', vmdkEnvelope(16384, flat), /type monolithicFlat/);
  const sparse = (extents: readonly string[]): Buffer => vmdkEnvelope(16384, vmdkDescriptor(['createType="monolithicSparse"', ...extents]));
  await add('vmdk with a flat extent hidden', 'VMDK', sparse([`RW 16384 FLAT "${canary}" 0`]), /refers to other files/);
  await add('vmdk with two extents', 'VMDK', sparse(['RW 16384 SPARSE "a.vmdk"', `RW 16384 FLAT "${canary}" 0`]), /refers to other files/);
  await add('vmdk with an extent elsewhere', 'VMDK', sparse([`RW 16384 SPARSE "${canary}"`]), /refers to other files/);
  await add(
    'vmdk with an extent in small letters',
    'VMDK',
    sparse(['RW 16384 SPARSE "a.vmdk"', `rw 16384 flat "${canary}" 0`]),
    /refers to other files/,
  );
  await add(
    'vmdk of several files',
    'VMDK',
    vmdkEnvelope(16384, vmdkDescriptor(['createType="twoGbMaxExtentSparse"', 'RW 16384 SPARSE "a-s001.vmdk"'])),
    /type twoGbMaxExtentSparse/,
  );
  await add(
    'vmdk on a parent',
    'VMDK',
    vmdkEnvelope(16384, vmdkDescriptor(['createType="monolithicSparse"', 'RW 16384 SPARSE "a.vmdk"']).replace('ffffffff', '12345678')),
    /refers to a parent/,
  );
  await add('vmdk naming its parent', 'VMDK', sparse(['RW 16384 SPARSE "a.vmdk"', `parentFileNameHint="${canary}"`]), /refers to a parent/);
  await add('vmdk with two sizes', 'VMDK', sparse(['RW 999 SPARSE "a.vmdk"']), /given twice/);
  const footerOf =
    (capacitySectors: bigint): Patch =>
    (bytes) => {
      bytes.writeBigUInt64LE(0xffffffffffffffffn, 56);
      const footer = Buffer.from(bytes.subarray(0, 512));
      footer.writeBigUInt64LE(capacitySectors, 12);
      return Buffer.concat([bytes, footer, Buffer.alloc(512)]);
    };
  await patched('vmdk stream whose end is an envelope', 'vmdk stream', 'VMDK', /only a description/, footerOf(0n));
  await patched('vmdk stream whose end differs', 'vmdk stream', 'VMDK', /two headers differ/, footerOf(1n << 30n));
  await made('vmdk of raw files', 'VMDK', /is VMDK descriptor/, (path) =>
    qemuImg('create', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', path, '8M'),
  );

  // VHD and VHDX.
  const sum = (bytes: Buffer, at: number): number =>
    ~bytes.reduce((total, byte, index) => (index >= at && index < at + 4 ? total : total + byte), 0) >>> 0;
  await patched('vhd on a parent', 'vhd dynamic', 'VHD', /refers to a parent/, (bytes) => {
    for (const footer of [bytes.subarray(0, 512), bytes.subarray(bytes.length - 512)]) {
      footer.writeUInt32BE(4, 60);
      footer.writeUInt32BE(sum(footer, 64), 64);
    }
    return undefined;
  });
  await patched('vhd naming a parent in its header', 'vhd dynamic', 'VHD', /refers to a parent/, (bytes) => {
    const header = bytes.subarray(512, 1536);
    header.write('parent', 576 + 3);
    header.writeUInt32BE(sum(header, 36), 36);
    return undefined;
  });
  await patched(
    'vhd that does not add up',
    'vhd dynamic',
    'VHD',
    /does not add up/,
    (bytes) => void bytes.writeUInt32BE(1, bytes.length - 512 + 64),
  );
  await patched('vhd with two faces', 'vhd dynamic', 'VHD', /two footers differ/, (bytes) => {
    const footer = bytes.subarray(0, 512);
    footer.writeBigUInt64BE(512n, 48);
    footer.writeUInt32BE(sum(footer, 64), 64);
    return undefined;
  });
  await patched('vhdx on a parent', 'vhdx dynamic', 'VHDX', /refers to a parent/, (bytes) => {
    const at = bytes.indexOf(Buffer.from('3767a1ca36fa434db3b633f0aa44e76b', 'hex'));
    const region = bytes.indexOf('metadata');
    bytes.writeUInt32LE(2, region + bytes.readUInt32LE(at + 16) + 4);
    return undefined;
  });
  await patched('vhdx with unknown metadata', 'vhdx dynamic', 'VHDX', /metadata that is not known/, (bytes) => {
    bytes.fill(0xee, bytes.indexOf('metadata') + 32, bytes.indexOf('metadata') + 48);
    return undefined;
  });
  await patched('vhdx with a log to replay', 'vhdx dynamic', 'VHDX', /log must be replayed/, (bytes) => {
    bytes.fill(0xee, 64 * 1024 + 48, 64 * 1024 + 64);
    bytes.fill(0xee, 128 * 1024 + 48, 128 * 1024 + 64);
    return undefined;
  });

  // ISO, packages, and files that are two things at once.
  await patched('iso that is also qcow2', 'iso', 'ISO', /is also QCOW2/, (bytes) => void bytes.write('QFI\xfb', 0, 'latin1'));
  await patched('iso that is also VHD', 'iso', 'ISO', /is also VHD/, (bytes) => void bytes.write('conectix', bytes.length - 512, 'latin1'));
  await patched('iso that is qcow2', 'qcow2', 'ISO', /is QCOW2/, () => undefined);
  await patched('iso cut short', 'iso', 'ISO', /not whole/, (bytes) => {
    bytes.writeUInt32LE(400_000, 16 * 2048 + 80);
    bytes.writeUInt32BE(400_000, 16 * 2048 + 84);
    return undefined;
  });
  await add('iso that is zeros', 'ISO', Buffer.alloc(100_000), /not an ISO image/);
  await add('ova', 'OVA', Buffer.alloc(10_240).fill('x.ovf', 0, 5).fill('ustar', 257, 262), /OVA packages are not accepted/);
  for (const [name, magic] of [
    ['xz', '\xfd7zXZ\0'],
    ['bzip2', 'BZh9'],
    ['zstd', '\x28\xb5\x2f\xfd'],
    ['ZIP', 'PK\x03\x04'],
  ] as const)
    await add(
      `${name} packed`,
      'QCOW2',
      Buffer.concat([Buffer.from(magic, 'latin1'), Buffer.alloc(1000)]),
      new RegExp(`declared as QCOW2 but is ${name}`),
    );
  return images;
}
