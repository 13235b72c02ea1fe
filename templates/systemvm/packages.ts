/** What the system VM template is made of. */
import { allowedPackages } from './allowed-packages.ts';

/** The packages that the recipe asks for, each for a reason. */
export const packages: readonly string[] = [
  // PID 1, and small tools of every kind.
  'busybox-static',
  // virtio, nftables, conntrack with flow tables, 802.1Q, VXLAN, XFRM, WireGuard and an NFS client; much smaller than the general kernel.
  'linux-image-cloud-amd64',
  // The smallest package that fulfils the kernel's dependency; our own initrd is made by build.ts.
  'tiny-initramfs',
  'kmod',
  // Some packages make their system users with it; the whole of systemd would be the alternative.
  'systemd-standalone-sysusers',
  'nodejs',
  'openssh-server',
  'ca-certificates',
  'iproute2',
  'iputils-ping',
  'procps',
  // Router.
  'nftables',
  'conntrack',
  'conntrackd',
  'dnsmasq-base',
  'haproxy',
  'keepalived',
  'charon-systemd',
  'strongswan-swanctl',
  'libcharon-extra-plugins',
  // Secondary storage.
  'nfs-common',
  'qemu-utils',
  // The sandbox in which qemu-img reads images that strangers have made.
  'bubblewrap',
];

// The kernel's package carries its version in its name.
const KERNEL = /^linux-image-6\.12\.\d+\+deb13-cloud-amd64$/;

const nameOf = (line: string): string => line.split(' ')[0] ?? '';

/** Packages of `manifest` that are not on the list of what the template may hold. */
export const unexpectedPackages = (manifest: string): string[] =>
  manifest
    .split('\n')
    .map(nameOf)
    .filter((name) => name !== '' && !allowedPackages.includes(name) && !KERNEL.test(name));
