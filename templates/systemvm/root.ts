/** The files that the recipe adds to Debian's. */
import { readFile } from 'node:fs/promises';
import type { RootFile } from '../debian.ts';

const besides = (name: string): Promise<string> => readFile(new URL(name, import.meta.url), 'utf8');

const SSHD_CONFIG = `Port 3922
AddressFamily inet
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
AuthorizedKeysFile /root/.ssh/authorized_keys
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
AllowAgentForwarding no
AllowTcpForwarding no
X11Forwarding no
PermitTunnel no
PrintMotd no
UseDNS no
Subsystem sftp internal-sftp
`;

// The key is made on first use, so that no two system VMs share one; ed25519 takes milliseconds.
const SSHD = `#!/usr/bin/busybox sh
mkdir -p /run/sshd
[ -f /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
exec /usr/sbin/sshd -D -e "$@"
`;

// A program that has ended unexpectedly is started the ordinary way, whatever the reason was. What the settings are for is memory: a large
// block goes back to the kernel when it is freed, threads do not keep heaps of their own, and short-lived objects get little room.
const ROLE = `#!/usr/bin/busybox sh
program=/run/payload/$1
export MALLOC_MMAP_THRESHOLD_=32768 MALLOC_ARENA_MAX=1
if [ "$2" = 1 ] && [ -f "$program.blob" ]; then
  exec /usr/bin/node --max-semi-space-size=1 --snapshot-blob "$program.blob" "$program.mjs"
fi
exec /usr/bin/node --max-semi-space-size=1 "$program.mjs"
`;

// busybox' acpid runs this file when the power button is pressed; the path is its own convention.
const POWER_BUTTON = `#!/usr/bin/busybox sh
kill -USR2 1
`;

export const rootFiles = async (): Promise<RootFile[]> => [
  { path: 'usr/lib/nephos/init', content: await besides('init.sh'), mode: 0o755 },
  { path: 'usr/lib/nephos/role', content: ROLE, mode: 0o755 },
  { path: 'usr/lib/nephos/sshd', content: SSHD, mode: 0o755 },
  { path: 'usr/lib/nephos/acpi/PWRF/00000080', content: POWER_BUTTON, mode: 0o755 },
  { path: 'etc/ssh/sshd_config', content: SSHD_CONFIG, mode: 0o600 },
  { path: 'etc/hosts', content: '127.0.0.1\tlocalhost\n' },
  { path: 'etc/fstab', content: '' },
];
export const initrdInit = (): Promise<string> => besides('initrd-init.sh');
