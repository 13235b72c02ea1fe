import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { chmod, chown, mkdir, readdir, readlink, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CloudError } from '../protocol/errors.ts';
import { command } from './command.ts';
import { ensureSecret, exists, readTextIfAny, writeTextWhole } from './files.ts';
import { type Machine, machineLog, mountIn, pathInside, powerOn, runAs, startIn } from './machine.ts';
import { contentsOf, type Mount } from './mounts.ts';
import type { ProcessIdentity } from './pids.ts';
import { waitForPort, waitUntil } from './probes.ts';
import { type HostPlan, topology } from './topology.ts';

export interface HostMachine extends Machine {
  readonly plan: HostPlan;
}

export interface HostCredentials {
  readonly address: string;
  readonly user: 'root';
  readonly password: string;
  /** As `ssh-keygen -lf` prints it: `SHA256:` and the key's hash. */
  readonly hostKeyFingerprint: string;
}

/** Folders of a host that live as long as the host, over any number of power cycles. */
const keptFolders = {
  'etc/libvirt': 0o755,
  'etc/ssh': 0o755,
  'etc/nephos-agent': 0o700,
  'etc/init.d': 0o755,
  'opt/nephos-agent': 0o755,
  'root/.ssh': 0o700,
  'var/lib/libvirt': 0o755,
  // Machines' processes, which run under an account of their own, pass through it to the files they boot from.
  'var/lib/nephos-agent': 0o711,
  'var/lib/nephos/primary': 0o755,
  'var/lib/dpkg': 0o755,
  'var/lib/misc': 0o755,
  'var/lib/nfs': 0o755,
  'var/log/libvirt': 0o755,
  'var/log/nephos-agent': 0o750,
  'var/cache/libvirt': 0o755,
  'var/spool': 0o755,
  'var/tmp': 0o1777,
} as const;

const STAGE = '/run/nephos-lab';
const stored = (host: HostMachine, path: string): string => join(host.directory, 'files', path);
const passwordFile = (host: HostMachine): string => join(host.directory, 'root-password');
const hostKeyFile = (host: HostMachine): string => stored(host, 'etc/ssh/ssh_host_ed25519_key');

/** What the host keeps on disk. Files that the host's owner may change later are made once and then left alone. */
export const ensureHostFiles = async (host: HostMachine, authorizedKey: string): Promise<void> => {
  for (const [path, mode] of Object.entries(keptFolders)) {
    await mkdir(stored(host, path), { recursive: true });
    await chmod(stored(host, path), mode);
  }
  for (const [link, target] of [
    ['var/run', '/run'],
    ['var/lock', '/run/lock'],
  ] as const)
    if (!(await exists(stored(host, link)))) await symlink(target, stored(host, link)).catch(() => undefined);
  await ensureSecret(passwordFile(host));
  if (!(await exists(hostKeyFile(host)))) {
    await rm(`${hostKeyFile(host)}.pub`, { force: true });
    await command('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', host.plan.name, '-f', hostKeyFile(host)], { timeoutSeconds: 20 });
  }
  const once = async (path: string, text: () => string, mode = 0o644): Promise<void> => {
    if (!(await exists(stored(host, path)))) await writeTextWhole(stored(host, path), text(), mode);
  };
  await once('machine-id', () => `${randomBytes(16).toString('hex')}\n`);
  await once('etc/libvirt/libvirtd.conf', () => libvirtdConfiguration(randomUUID()));
  await once('etc/libvirt/qemu.conf', qemuConfiguration);
  await once('etc/libvirt/virtlogd.conf', () => 'log_outputs = "3:file:/var/log/libvirt/virtlogd.log"\n');
  await once('root/.ssh/authorized_keys', () => `${authorizedKey.trim()}\n`, 0o600);
  await writeTextWhole(stored(host, 'etc/ssh/sshd_config'), sshdConfiguration(host.plan), 0o600);
};

/** Every host must be somebody to libvirt: two with one number refuse to migrate to each other. */
const libvirtdConfiguration = (uuid: string): string =>
  [
    `host_uuid = "${uuid}"`,
    'unix_sock_rw_perms = "0700"',
    'auth_unix_ro = "none"',
    'auth_unix_rw = "none"',
    'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"',
    '',
  ].join('\n');

/** A host of the lab has no udev, no control groups and no virtlogd of systemd's, so libvirt must not look for them. */
const qemuConfiguration = (): string =>
  [
    'user = "libvirt-qemu"',
    'group = "libvirt-qemu"',
    'stdio_handler = "file"',
    'namespaces = []',
    'cgroup_controllers = []',
    'security_driver = "none"',
    // The owner of an image from before it was opened would be kept in extended attributes, which two hosts sharing one file system trip over.
    'remember_owner = 0',
    '',
  ].join('\n');

/** Passwords are checked against the host's own shadow file: the machine's PAM stack would ask the machine. */
const sshdConfiguration = ({ managementAddress }: HostPlan): string =>
  [
    `ListenAddress ${managementAddress}`,
    'Port 22',
    'HostKey /etc/ssh/ssh_host_ed25519_key',
    'PidFile /run/sshd.pid',
    'PermitRootLogin yes',
    'PasswordAuthentication yes',
    'KbdInteractiveAuthentication no',
    'UsePAM no',
    'UseDNS no',
    'PrintMotd no',
    'PrintLastLog no',
    'AcceptEnv LANG LC_*',
    // Node may stand outside the usual folders.
    `SetEnv PATH=${dirname(process.execPath)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    'Subsystem sftp internal-sftp',
    '',
  ].join('\n');

export const hostCredentials = async (host: HostMachine): Promise<HostCredentials> => {
  const [, blob] = ((await readTextIfAny(`${hostKeyFile(host)}.pub`)) ?? '').split(' ');
  if (blob === undefined) throw new CloudError('NotFound', `${host.plan.name} has not been made yet`);
  const hash = createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64').replace(/=+$/, '');
  return {
    address: host.plan.managementAddress,
    user: 'root',
    password: await ensureSecret(passwordFile(host)),
    hostKeyFingerprint: `SHA256:${hash}`,
  };
};

const stageMounts = (host: HostMachine, primaryDirectory: string): Mount[] => [
  { source: join(host.directory, 'files'), target: `${STAGE}/files`, type: 'bind', options: ['X-mount.mkdir'] },
  { source: primaryDirectory, target: `${STAGE}/primary`, type: 'bind', options: ['X-mount.mkdir'] },
  { source: '/opt', target: `${STAGE}/opt`, type: 'bind', options: ['X-mount.mkdir'] },
  { source: '/root', target: `${STAGE}/root`, type: 'bind', options: ['X-mount.mkdir'] },
  { source: '/var/lib/dpkg', target: `${STAGE}/dpkg`, type: 'bind', options: ['X-mount.mkdir'] },
  // Not on the run folder's file system, which has no devices.
  { source: 'tmpfs', target: `${STAGE}/dev`, type: 'tmpfs', options: ['mode=755', 'nosuid', 'X-mount.mkdir'] },
];

const bound = (path: string, target = `/${path}`): Mount => ({
  source: `${STAGE}/files/${path}`,
  target,
  type: 'bind',
  options: ['X-mount.mkdir'],
});

const finalMounts = (folders: Readonly<Record<'opt' | 'root', readonly Mount[]>>): Mount[] => [
  { source: `${STAGE}/etc`, target: '/etc', type: 'bind' },
  ...['etc/libvirt', 'etc/ssh', 'etc/nephos-agent', 'etc/init.d'].map((path) => bound(path)),
  { source: `${STAGE}/dev`, target: '/dev', type: 'bind' },
  {
    // `mount --all` leaves out what it takes for mounted already, by name and place; the machine's own is below this one.
    source: 'nephos-devpts',
    target: '/dev/pts',
    type: 'devpts',
    options: ['newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5', 'X-mount.mkdir'],
  },
  { source: 'nephos-shm', target: '/dev/shm', type: 'tmpfs', options: ['mode=1777', 'nosuid', 'nodev', 'X-mount.mkdir'] },
  bound('var'),
  { source: `${STAGE}/dpkg`, target: '/var/lib/dpkg', type: 'bind', options: ['ro'] },
  { source: `${STAGE}/primary`, target: topology.primaryMountPoint, type: 'bind' },
  ...folders.opt,
  bound('opt/nephos-agent'),
  ...folders.root,
  bound('root/.ssh'),
  bound('tmp'),
];

/**
 * A folder of the machine with room for what is the host's own: an empty one, with everything that was in it bound back. New files then appear in
 * the host alone, and nothing of the host's appears on the machine.
 */
const reopenedFolder = async (init: ProcessIdentity, name: 'opt' | 'root', hidden: readonly string[]): Promise<Mount[]> => {
  const original = `/${name}`;
  const room = `${STAGE}/room-${name}`;
  const { folders, files, links } = await contentsOf(original);
  await mkdir(pathInside(init, room), { recursive: true });
  const mode = (await stat(original).catch(() => null))?.mode ?? 0o755;
  await chmod(pathInside(init, room), mode & 0o7777);
  const mounts: Mount[] = [{ source: room, target: original, type: 'bind' }];
  for (const folder of folders.filter((entry) => !hidden.includes(entry))) {
    await mkdir(pathInside(init, `${room}/${folder}`), { recursive: true });
    mounts.push({ source: `${STAGE}/${name}/${folder}`, target: `${original}/${folder}`, type: 'bind' });
  }
  for (const file of files) {
    await writeTextWhole(pathInside(init, `${room}/${file}`), '');
    mounts.push({ source: `${STAGE}/${name}/${file}`, target: `${original}/${file}`, type: 'bind' });
  }
  for (const link of links) await symlink(await readlink(join(original, link)), pathInside(init, `${room}/${link}`));
  return mounts;
};

const DEVICES = [
  'null',
  'zero',
  'full',
  'random',
  'urandom',
  'tty',
  'net/tun',
  'kvm',
  'vhost-net',
  'vhost-vsock',
  'fuse',
  'loop-control',
  'hpet',
  'rtc0',
  'rtc',
];

const groupId = (groups: string, name: string): number => {
  const line = groups.split('\n').find((candidate) => candidate.startsWith(`${name}:`));
  return Number(line?.split(':')[2] ?? 0);
};

/** The host's own device files, so their owners can be right without touching the machine's. */
const fillDevices = async (init: ProcessIdentity): Promise<void> => {
  const present: string[] = [];
  for (const name of DEVICES) if ((await stat(`/dev/${name}`).catch(() => null))?.isCharacterDevice()) present.push(name);
  const dev = pathInside(init, `${STAGE}/dev`);
  await runAs(
    init,
    'cp',
    ['--archive', '--', ...present.filter((name) => name !== 'net/tun').map((name) => `/dev/${name}`), `${STAGE}/dev/`],
    { timeoutSeconds: 10 },
  );
  await mkdir(join(dev, 'net'));
  if (present.includes('net/tun'))
    await runAs(init, 'cp', ['--archive', '--', '/dev/net/tun', `${STAGE}/dev/net/`], { timeoutSeconds: 10 });
  for (const name of ['null', 'zero', 'full', 'random', 'urandom', 'tty', 'net/tun'])
    if (present.includes(name)) await chmod(join(dev, name), 0o666);
  const kvm = groupId((await readTextIfAny('/etc/group')) ?? '', 'kvm');
  // libvirt asks QEMU for its abilities again before every start, for a minute and a half, when it may open this device and QEMU's account may not.
  for (const name of ['kvm', 'vhost-net', 'vhost-vsock'])
    if (present.includes(name)) {
      await chown(join(dev, name), 0, kvm);
      await chmod(join(dev, name), 0o660);
    }
  for (const [name, target] of [
    ['fd', '/proc/self/fd'],
    ['stdin', '/proc/self/fd/0'],
    ['stdout', '/proc/self/fd/1'],
    ['stderr', '/proc/self/fd/2'],
    ['ptmx', 'pts/ptmx'],
  ] as const)
    await symlink(target, join(dev, name));
};

/** A copy of the machine's settings as they are today, with what makes the host somebody of its own. */
const fillSettings = async (host: HostMachine, init: ProcessIdentity, hosts: readonly HostPlan[]): Promise<void> => {
  await runAs(init, 'cp', ['--archive', '--no-target-directory', '--', '/etc', `${STAGE}/etc`], { timeoutSeconds: 60 });
  const etc = pathInside(init, `${STAGE}/etc`);
  for (const name of ['ssh', 'libvirt', 'nephos-agent', 'init.d', 'resolv.conf', 'hostname', 'hosts', 'machine-id', 'shadow-', 'mtab'])
    await rm(join(etc, name), { recursive: true, force: true });
  const known = hosts.map(({ managementAddress, name }) => `${managementAddress} ${name}`);
  await writeTextWhole(join(etc, 'hostname'), `${host.plan.name}\n`);
  await writeTextWhole(join(etc, 'hosts'), ['127.0.0.1 localhost', ...known, ''].join('\n'));
  // There is no name server, and asking one must not cost the usual seconds.
  await writeTextWhole(join(etc, 'resolv.conf'), 'options timeout:1 attempts:1\n');
  await writeTextWhole(join(etc, 'machine-id'), (await readTextIfAny(stored(host, 'machine-id'))) ?? '');
  await symlink('/proc/self/mounts', join(etc, 'mtab'));
};

const prepareFileSystem = async (
  host: HostMachine,
  init: ProcessIdentity,
  hosts: readonly HostPlan[],
  primaryDirectory: string,
): Promise<void> => {
  await rm(stored(host, 'tmp'), { recursive: true, force: true });
  await mkdir(stored(host, 'tmp'), { recursive: true });
  await chmod(stored(host, 'tmp'), 0o1777);
  await mountIn(init, stageMounts(host, primaryDirectory), 'stage');
  await fillDevices(init);
  await fillSettings(host, init, hosts);
  const opt = await reopenedFolder(init, 'opt', ['nephos-agent']);
  const root = await reopenedFolder(init, 'root', ['.ssh']);
  await mountIn(init, finalMounts({ opt, root }), 'final');
  for (const folder of ['/run/lock', '/run/sshd']) await mkdir(pathInside(init, folder), { recursive: true, mode: 0o755 });
  await chmod(pathInside(init, '/run/lock'), 0o1777);
  const password = await ensureSecret(passwordFile(host));
  await runAs(init, 'chpasswd', ['--crypt-method', 'SHA512'], { timeoutSeconds: 20, input: `root:${password}\n` });
};

const DAEMON_SECONDS = 60;

const bootHost = async (host: HostMachine, init: ProcessIdentity): Promise<void> => {
  await startIn(host, init, 'sshd', '/usr/sbin/sshd', ['-D', '-e', '-f', '/etc/ssh/sshd_config']);
  await startIn(host, init, 'virtlogd', '/usr/sbin/virtlogd', []);
  await startIn(host, init, 'libvirtd', '/usr/sbin/libvirtd', []);
  await waitForPort({
    host: host.plan.managementAddress,
    port: 22,
    about: `ssh on ${host.plan.name}`,
    timeoutSeconds: 20,
    logFile: machineLog(host, 'sshd'),
  });
  await waitUntil(
    { about: `libvirt on ${host.plan.name}`, timeoutSeconds: DAEMON_SECONDS, logFile: machineLog(host, 'libvirtd') },
    async () => {
      if (!(await exists(pathInside(init, '/run/libvirt/libvirt-sock')))) return false;
      await runAs(init, 'virsh', ['--connect', 'qemu:///system', 'list', '--all'], { timeoutSeconds: DAEMON_SECONDS });
      return true;
    },
  );
  await startBootScripts(host, init);
};

/** What a machine without systemd does when it boots: `/etc/init.d/… start` for each that was installed. */
const startBootScripts = async (host: HostMachine, init: ProcessIdentity): Promise<void> => {
  const directory = stored(host, 'etc/init.d');
  for (const name of (await readdir(directory)).sort()) {
    if (((await stat(join(directory, name))).mode & 0o111) === 0) continue;
    await startIn(host, init, `init-${name}`, `/etc/init.d/${name}`, ['start']);
  }
};

export const powerOnHost = (
  host: HostMachine,
  hosts: readonly HostPlan[],
  primaryDirectory: string,
): Promise<'on already' | 'switched on'> =>
  powerOn(host, async (init) => {
    await prepareFileSystem(host, init, hosts, primaryDirectory);
    await bootHost(host, init);
  });
