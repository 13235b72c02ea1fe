/** Makes a disk that a BIOS can boot: a partition table, GRUB and one ext4 partition, written without mounting anything. */
import { chmod, copyFile, mkdir, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';
import { makeFileSystem } from '../debian.ts';
import { run } from '../run.ts';

const SECTOR_BYTES = 512;
const PARTITION_START_SECTOR = 2048;
const LINUX_PARTITION = 0x83;
const BOOTABLE = 0x80;
const BOOT_CODE_BYTES = 440;

/** The master boot record: GRUB's first sector and the table with the one partition. */
export function masterBootRecord(bootCode: Uint8Array, diskId: number, diskSectors: number): Buffer {
  const record = Buffer.alloc(SECTOR_BYTES);
  Buffer.from(bootCode).copy(record, 0, 0, BOOT_CODE_BYTES);
  record.writeUInt32LE(diskId, BOOT_CODE_BYTES);
  const entry = 446;
  record.writeUInt8(BOOTABLE, entry);
  // The cylinder, head and sector fields cannot express where it is; these values tell the BIOS to use the sector numbers below.
  record.writeUIntBE(0xfeffff, entry + 1, 3);
  record.writeUInt8(LINUX_PARTITION, entry + 4);
  record.writeUIntBE(0xfeffff, entry + 5, 3);
  record.writeUInt32LE(PARTITION_START_SECTOR, entry + 8);
  record.writeUInt32LE(diskSectors - PARTITION_START_SECTOR, entry + 12);
  record.writeUInt16BE(0x55aa, 510);
  return record;
}

export interface BootLoader {
  readonly bootCode: Buffer;
  readonly core: Buffer;
}

const GRUB_FOLDER = 'usr/lib/grub/i386-pc';
const GRUB_MODULES = ['biosdisk', 'part_msdos', 'ext2', 'linux', 'boot', 'normal', 'configfile', 'search', 'echo', 'test'];

/** GRUB as the root file system `root` has it (package `grub-pc-bin`), with `config` built in. */
export async function makeBootLoader(root: string, config: string): Promise<BootLoader> {
  const work = join(root, 'tmp/grub');
  await mkdir(work, { recursive: true });
  await writeFile(join(work, 'early.cfg'), config);
  await run(
    'chroot',
    [
      ...[root, '/usr/bin/grub-mkimage', '-O', 'i386-pc', '-d', `/${GRUB_FOLDER}`, '-p', '(hd0,msdos1)/boot/grub'],
      ...['-c', '/tmp/grub/early.cfg', '-o', '/tmp/grub/core.img', ...GRUB_MODULES],
    ],
    { timeoutSeconds: 60 },
  );
  const loader = { bootCode: await readFile(join(root, GRUB_FOLDER, 'boot.img')), core: await readFile(join(work, 'core.img')) };
  await rm(work, { recursive: true });
  return loader;
}

export interface BootableDisk {
  readonly root: string;
  readonly raw: string;
  readonly loader: BootLoader;
  readonly label: string;
  readonly uuid: string;
  readonly diskId: number;
  readonly sizeMib: number;
}

// GRUB must be able to read what the building machine's tools write, be they newer than it.
const FEATURES = '^metadata_csum_seed,^orphan_file';

export async function makeBootableDisk({ root, raw, loader, label, uuid, diskId, sizeMib }: BootableDisk): Promise<void> {
  if (loader.core.length > (PARTITION_START_SECTOR - 1) * SECTOR_BYTES) {
    throw new CloudError('Internal', 'the boot loader does not fit before the first partition');
  }
  await writeFile(raw, '');
  await truncate(raw, sizeMib * 1024 * 1024);
  const offsetBytes = PARTITION_START_SECTOR * SECTOR_BYTES;
  await makeFileSystem({ root, image: raw, label, uuid, sizeMib: sizeMib - offsetBytes / 1024 / 1024, offsetBytes, features: FEATURES });
  const disk = await open(raw, 'r+');
  try {
    const record = masterBootRecord(loader.bootCode, diskId, (sizeMib * 1024 * 1024) / SECTOR_BYTES);
    await disk.write(record, 0, record.length, 0);
    await disk.write(loader.core, 0, loader.core.length, SECTOR_BYTES);
  } finally {
    await disk.close();
  }
}

/** The shared libraries that the programs need, by the loader's own account: paths inside `root`. */
export async function librariesOf(root: string, programs: readonly string[]): Promise<string[]> {
  const listed = await Promise.all(
    programs.map((program) => run('chroot', [root, '/lib64/ld-linux-x86-64.so.2', '--list', program], { timeoutSeconds: 30 })),
  );
  return libraryPaths(listed.join('\n'));
}

export const libraryPaths = (listing: string): string[] =>
  [...new Set([...listing.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1] ?? ''))].sort();

/** Copies files between root file systems, following links, so that the copy stands alone. */
export async function copyInto(from: string, to: string, paths: readonly string[], mode = 0o755): Promise<void> {
  for (const path of paths) {
    const target = join(to, path);
    await mkdir(join(target, '..'), { recursive: true });
    await copyFile(join(from, path), target);
    await chmod(target, mode);
  }
}
