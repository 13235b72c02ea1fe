/** A Debian guest with cloud-init, as public clouds have it, on a disk that boots by itself. */
import { rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildEnvironment, convertToQcow2, makeRoot, type OnProgress, type RootFile, writeRootFiles } from '../debian.ts';
import { run } from '../run.ts';
import { makeBootableDisk, makeBootLoader } from './disk.ts';
import type { GuestRecipe } from './recipe.ts';

const RELEASE = 'trixie';
const DISK_MIB = 2048;
const LABEL = 'nephos-debian';
const UUID = 'c4d0a1b2-7f3e-4d55-9e42-51c0de6b1303';
const DISK_ID = 0x6e65_7403;
const PACKAGES = [
  ...['linux-image-cloud-amd64', 'initramfs-tools', 'zstd', 'grub-pc-bin', 'grub-common'],
  ...['systemd', 'systemd-sysv', 'systemd-resolved', 'systemd-timesyncd', 'udev', 'dbus', 'libpam-systemd'],
  // The CloudStack datasource asks for the password with wget.
  ...['cloud-init', 'cloud-guest-utils', 'fdisk', 'wget'],
  ...['openssh-server', 'sudo', 'ca-certificates', 'iproute2', 'iputils-ping', 'e2fsprogs', 'procps', 'less', 'nano'],
];

// Built into the boot loader. It goes by the links that Debian's kernel packages keep, so that a newer kernel is booted as well.
const GRUB_CONFIG = `set root=(hd0,msdos1)
linux /vmlinuz root=UUID=${UUID} ro console=tty1 console=ttyS0,115200 quiet net.ifnames=0 cryptomgr.notests no_timer_check
initrd /initrd.img
boot
`;

// The sources of packages are not part of the image: cloud-init writes Debian's own ones.
const CLOUD_CONFIG = `datasource_list: [CloudStack, None]
datasource:
  CloudStack:
    max_wait: 60
    timeout: 10
system_info:
  network:
    renderers: [networkd]
ssh_genkeytypes: [ed25519, ecdsa]
ssh:
  emit_keys_to_console: false
locale: false
apt:
  preserve_sources_list: false
growpart:
  mode: growpart
  devices: [/]
`;

// The initrd needs nothing but the disk; a small one is read and unpacked sooner.
const INITRAMFS_CONFIG = 'MODULES=list\nCOMPRESS=zstd\n';
const INITRAMFS_MODULES = 'virtio_pci\nvirtio_blk\nvirtio_scsi\nsd_mod\next4\n';

const files: readonly RootFile[] = [
  // Both say that everything made from /usr is up to date, which saves the first boot from making it again.
  { path: 'etc/.updated', content: '' },
  { path: 'var/.updated', content: '' },
  { path: 'etc/cloud/cloud.cfg.d/90_nephos.cfg', content: CLOUD_CONFIG },
  { path: 'etc/initramfs-tools/conf.d/nephos.conf', content: INITRAMFS_CONFIG },
  { path: 'etc/initramfs-tools/modules', content: INITRAMFS_MODULES },
  { path: 'etc/fstab', content: `UUID=${UUID} / ext4 noatime,errors=remount-ro 0 1\n` },
  { path: 'etc/hostname', content: 'debian\n' },
  { path: 'etc/hosts', content: '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' },
];

// Work that a machine which lives for minutes never needs, and that all machines of a host would start at the same time.
const MASKED_UNITS = [
  ...[
    'apt-daily.timer',
    'apt-daily-upgrade.timer',
    'e2scrub_all.timer',
    'e2scrub_reap.service',
    'systemd-pstore.service',
    'systemd-binfmt.service',
  ],
  ...['sys-kernel-debug.mount', 'sys-kernel-tracing.mount', 'dev-hugepages.mount', 'modprobe@efi_pstore.service', 'modprobe@drm.service'],
];
// cloud-init asks for its metadata when the network is online, so something has to wait for that.
const ENABLED_UNITS = ['systemd-networkd.service', 'systemd-networkd-wait-online.service', 'systemd-resolved.service', 'ssh.service'];

async function build(directory: string, onProgress: OnProgress): Promise<void> {
  const root = join(directory, 'root');
  const raw = join(directory, 'disk.raw');
  await makeRoot({
    directory: root,
    release: RELEASE,
    packages: PACKAGES,
    // With SOURCE_DATE_EPOCH set, Python would compile its modules so that each start has to read all sources again.
    environment: {},
    onProgress: ({ fraction, step }) => onProgress({ fraction: fraction * 0.75, step }),
  });
  const inside = (...words: string[]): Promise<string> =>
    run('chroot', [root, ...words], { timeoutSeconds: 300, environment: { ...buildEnvironment, SYSTEMD_OFFLINE: '1' } });
  onProgress({ fraction: 0.75, step: 'making the initrd' });
  await writeRootFiles(root, files);
  await rm(join(root, 'etc/resolv.conf'), { force: true });
  await symlink('../run/systemd/resolve/stub-resolv.conf', join(root, 'etc/resolv.conf'));
  await inside('/usr/bin/systemctl', '--quiet', 'enable', ...ENABLED_UNITS);
  await inside('/usr/bin/systemctl', '--quiet', 'mask', ...MASKED_UNITS);
  await inside('/usr/sbin/update-initramfs', '-u');
  onProgress({ fraction: 0.85, step: 'making the disk' });
  const loader = await makeBootLoader(root, GRUB_CONFIG);
  await writeFile(join(root, 'etc/machine-id'), '');
  await makeBootableDisk({ root, raw, loader, label: LABEL, uuid: UUID, diskId: DISK_ID, sizeMib: DISK_MIB });
  onProgress({ fraction: 0.92, step: 'compressing the disk' });
  await convertToQcow2(raw, join(directory, 'disk.qcow2'));
  await Promise.all([rm(root, { recursive: true }), rm(raw)]);
  onProgress({ fraction: 1, step: 'done' });
}

export const debianGuest: GuestRecipe = {
  name: 'debian',
  recipe: async () => ({
    version: 1,
    release: RELEASE,
    diskMib: DISK_MIB,
    packages: PACKAGES,
    grub: GRUB_CONFIG,
    files: files.map(({ path, content, mode = null }) => ({ path, content, mode })),
    masked: MASKED_UNITS,
    enabled: ENABLED_UNITS,
  }),
  build,
};
