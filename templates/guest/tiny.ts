/** The tiny guest: Debian's kernel, busybox and a small ssh server, on a disk that boots by itself. */
import { chmod, copyFile, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cpio } from '../cpio.ts';
import { convertToQcow2, kernelModules, kernelOf, makeRoot, type OnProgress, type RootFile, writeRootFiles } from '../debian.ts';
import { run } from '../run.ts';
import { copyInto, librariesOf, makeBootableDisk, makeBootLoader } from './disk.ts';
import type { GuestRecipe } from './recipe.ts';

const RELEASE = 'trixie';
const DISK_MIB = 512;
const LABEL = 'nephos-tiny';
const UUID = 'a1b7c1de-6c1c-4a53-8a8f-3a0d5a2c4e02';
const DISK_ID = 0x6e65_7402;
const PACKAGES = ['linux-image-cloud-amd64', 'tiny-initramfs', 'kmod', 'busybox-static', 'dropbear-bin', 'grub-pc-bin', 'grub-common'];
const BOOT_MODULES = ['virtio_blk'];
// Loaded at every boot: network, power button, randomness, memory statistics, and what an attached ISO or a SATA or SCSI disk needs.
const RUN_MODULES = [
  ...['virtio_net', 'button', 'evdev', 'virtio_rng', 'virtio_balloon'],
  ...['ata_piix', 'ahci', 'virtio_scsi', 'sd_mod', 'sr_mod', 'isofs'],
];
const PROGRAMS = ['/usr/sbin/dropbear', '/usr/bin/dropbearkey'];

const GRUB_CONFIG = `set root=(hd0,msdos1)
linux /boot/vmlinuz root=/dev/vda1 console=tty1 console=ttyS0 quiet panic=5 cryptomgr.notests no_timer_check nowatchdog
initrd /boot/initrd
boot
`;

const besides = (name: string): Promise<string> => readFile(new URL(`tiny/${name}`, import.meta.url), 'utf8');

const files = async (): Promise<RootFile[]> => [
  { path: 'usr/sbin/init', content: await besides('init.sh'), mode: 0o755 },
  { path: 'usr/lib/tiny/say', content: await besides('say.sh') },
  { path: 'usr/lib/tiny/dhcp', content: await besides('dhcp.sh'), mode: 0o755 },
  { path: 'usr/lib/tiny/metadata', content: await besides('metadata.sh'), mode: 0o755 },
  { path: 'usr/lib/tiny/screen', content: await besides('screen.sh'), mode: 0o755 },
  { path: 'usr/lib/tiny/acpi/PWRF/00000080', content: '#!/bin/sh\nkill -USR2 1\n', mode: 0o755 },
  { path: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' },
  { path: 'etc/group', content: 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' },
  { path: 'etc/shadow', content: 'root:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\n', mode: 0o600 },
  { path: 'etc/shells', content: '/bin/sh\n' },
  { path: 'etc/hostname', content: 'tiny\n' },
  { path: 'etc/hosts', content: '127.0.0.1\tlocalhost\n' },
  { path: 'etc/resolv.conf', content: '' },
  { path: 'etc/profile', content: "export PS1='\\u@\\h:\\w\\$ '\n" },
  { path: 'etc/issue', content: 'nephos-tiny \\n \\l\n\n' },
];

/** Debian is installed into `source`; what the guest needs of it is copied into `root`. */
async function fillRoot(source: string, root: string): Promise<void> {
  const folders = [
    'boot',
    'dev',
    'proc',
    'sys',
    'run',
    'tmp',
    'root',
    'mnt',
    'etc/dropbear',
    'var/log',
    'var/lib',
    'usr/bin',
    'usr/sbin',
    'usr/lib',
    'usr/lib64',
  ];
  for (const folder of folders) await mkdir(join(root, folder), { recursive: true });
  await chmod(join(root, 'root'), 0o700);
  for (const link of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${link}`, join(root, link));
  await copyInto(source, root, ['usr/bin/busybox', ...PROGRAMS, ...(await librariesOf(source, PROGRAMS))]);
  const applets = (await run('chroot', [source, '/usr/bin/busybox', '--list'], { timeoutSeconds: 30 })).split('\n');
  for (const applet of applets.filter((name) => name !== '' && name !== 'busybox')) {
    await symlink('busybox', join(root, 'usr/bin', applet));
  }
  await writeRootFiles(root, await files());

  const kernel = await kernelOf(source);
  await copyFile(kernel.vmlinuz, join(root, 'boot/vmlinuz'));
  const modules = await kernelModules(kernel, RUN_MODULES);
  await mkdir(join(root, 'usr/lib/modules'));
  for (const { name, content } of modules) await writeFile(join(root, 'usr/lib/modules', name), content);
  await writeFile(join(root, 'usr/lib/modules/order'), modules.map(({ name }) => `${name}\n`).join(''));

  const bootModules = await kernelModules(kernel, BOOT_MODULES);
  const initrd = cpio([
    ...['bin', 'dev', 'modules', 'root'].map((path) => ({ kind: 'directory' as const, path })),
    { kind: 'character device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', content: await readFile(join(source, 'usr/bin/busybox')), mode: 0o755 },
    ...bootModules.map(({ name, content }) => ({ kind: 'file' as const, path: `modules/${name}`, content })),
    { kind: 'file', path: 'modules/order', content: Buffer.from(bootModules.map(({ name }) => `${name}\n`).join('')) },
    { kind: 'file', path: 'init', content: Buffer.from(await besides('initrd-init.sh')), mode: 0o755 },
  ]);
  await writeFile(join(root, 'boot/initrd'), initrd);
}

async function build(directory: string, onProgress: OnProgress): Promise<void> {
  const source = join(directory, 'source');
  const root = join(directory, 'root');
  const raw = join(directory, 'disk.raw');
  await makeRoot({
    directory: source,
    release: RELEASE,
    packages: PACKAGES,
    onProgress: ({ fraction, step }) => onProgress({ fraction: fraction * 0.85, step }),
  });
  onProgress({ fraction: 0.85, step: 'making the disk' });
  await mkdir(root);
  await fillRoot(source, root);
  const loader = await makeBootLoader(source, GRUB_CONFIG);
  await makeBootableDisk({ root, raw, loader, label: LABEL, uuid: UUID, diskId: DISK_ID, sizeMib: DISK_MIB });
  await convertToQcow2(raw, join(directory, 'disk.qcow2'));
  await Promise.all([rm(source, { recursive: true }), rm(root, { recursive: true }), rm(raw)]);
  onProgress({ fraction: 1, step: 'done' });
}

export const tinyGuest: GuestRecipe = {
  name: 'tiny',
  recipe: async () => ({
    version: 1,
    release: RELEASE,
    diskMib: DISK_MIB,
    packages: PACKAGES,
    bootModules: BOOT_MODULES,
    runModules: RUN_MODULES,
    grub: GRUB_CONFIG,
    initrdInit: await besides('initrd-init.sh'),
    files: (await files()).map(({ path, content, mode = null }) => ({ path, content, mode })),
  }),
  build,
};
