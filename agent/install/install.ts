/** Puts the agent onto a host over ssh, and takes it off again. Repeatable; machines that run on the host are not touched. */
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import { AgentConfig } from '../config.ts';
import { parseJson } from '../json.ts';
import { directories, places } from './places.ts';
import { type HostFile, type ServiceKind, serviceCommands, serviceFiles } from './service-files.ts';

/** A root shell on the host. `exec` takes the words of one command and sees to it that each arrives as it is. */
export interface RemoteShell {
  exec(argv: readonly string[], options?: { timeoutSeconds?: number }): Promise<{ code: number; stdout: string; stderr: string }>;
  put(path: string, bytes: string | Uint8Array, mode: number): Promise<void>;
}
export interface AgentInstallation {
  readonly id: Id<'host'>;
  readonly servers: readonly string[];
  readonly join: { readonly token: string; readonly caSha256: string };
  readonly driver?: AgentConfig['driver'];
  readonly bridges?: Partial<AgentConfig['bridges']>;
  /** The agent as one file, from `bundleAgent`. */
  readonly bundle: Uint8Array;
  readonly onStep?: (what: string) => void;
}

const NODE_MAJOR_MIN = 20;
const PACKAGES_SECONDS = 1200;
/** The tools the agent calls, and the Debian packages they come in. */
const TOOLS: Readonly<Record<string, string>> = {
  virsh: 'libvirt-clients',
  libvirtd: 'libvirt-daemon-system',
  'qemu-system-x86_64': 'qemu-system-x86',
  'qemu-img': 'qemu-utils',
  nft: 'nftables',
  ip: 'iproute2',
  bridge: 'iproute2',
  setsid: 'util-linux',
};

export const installedConfig = ({ id, servers, join, driver, bridges }: Omit<AgentInstallation, 'bundle' | 'onStep'>): AgentConfig => ({
  id,
  kind: 'host',
  servers: [...servers],
  join,
  stateDirectory: places.state,
  driver: driver ?? 'libvirt',
  bridges: { management: null, public: null, storage: null, ...bridges },
  logFile: places.log,
});

/** Every file of an installation, in the order in which they are to be written. */
export const installedFiles = (installation: AgentInstallation, kind: ServiceKind, nodePath: string): HostFile[] => [
  { path: places.program, bytes: installation.bundle, mode: 0o644 },
  { path: places.config, bytes: `${JSON.stringify(installedConfig(installation), null, 2)}\n`, mode: 0o600 },
  ...serviceFiles(kind, nodePath),
];

/** Sees to it that the host has what an agent needs, from Debian's packages where something is missing; nothing of the cloud is left there. */
export async function prepareHost(
  ssh: RemoteShell,
  { driver = 'libvirt', onStep: step = () => {} }: Pick<AgentInstallation, 'driver' | 'onStep'> = {},
): Promise<{ service: ServiceKind; node: { path: string; version: string } }> {
  step('look at the host');
  if ((await must(ssh, 'ask who we are', ['id', '-u'])).trim() !== '0') {
    throw new CloudError('Forbidden', 'the agent can only be installed by root; give the user name root, or one that is root');
  }
  const service = await serviceKind(ssh);
  await ensureTools(ssh, driver, step);
  return { service, node: await ensureNode(ssh, step) };
}

export async function installAgent(
  ssh: RemoteShell,
  installation: AgentInstallation,
): Promise<{ service: ServiceKind; nodeVersion: string }> {
  const step = installation.onStep ?? (() => {});
  const { service, node } = await prepareHost(ssh, installation);

  step('stop an earlier agent');
  await stopAgent(ssh, service);
  step('copy the agent');
  for (const [directory, mode] of directories) await must(ssh, `make ${directory}`, ['install', '-d', '-m', mode, '--', directory]);
  // The identity goes with its token, and what an earlier cloud wanted of this host goes with that cloud.
  await must(ssh, 'forget the earlier identity', ['rm', '-rf', '--', `${places.state}/identity`]);
  if ((await installedId(ssh)) !== installation.id) {
    const remembered = ['networks.json', 'pools.json', 'configuration.json'].map((name) => `${places.state}/${name}`);
    await must(ssh, 'forget the earlier cloud', ['rm', '-f', '--', ...remembered]);
  }
  for (const { path, bytes, mode } of installedFiles(installation, service, node.path)) await ssh.put(path, bytes, mode);

  step('start the agent');
  const commands = serviceCommands[service];
  for (const argv of [...commands.enable, ...commands.start]) await must(ssh, 'start the agent', argv, 60);
  const { code } = await ssh.exec(commands.status);
  if (code !== 0) throw new CloudError('ResourceUnavailable', `the agent does not start on the host; its log is ${places.log} there`);
  return { service, nodeVersion: node.version };
}

/** Stops the agent and removes what installation and agent have put on the host. To be called when no machine runs there any more. */
export async function uninstallAgent(ssh: RemoteShell): Promise<void> {
  const service = await serviceKind(ssh);
  await stopAgent(ssh, service);
  for (const argv of serviceCommands[service].disable) await ssh.exec(argv);
  await must(ssh, 'remove the service', ['rm', '-f', '--', places.systemdUnit, places.initScript, places.pid]);
  if (service === 'systemd') await ssh.exec(['systemctl', 'daemon-reload']);

  // Mounted pools are let go first, and nothing below a mount is ever deleted.
  const mounts = await ssh.exec(['cat', '/proc/self/mounts']);
  for (const line of mounts.stdout.split('\n')) {
    const target = line.split(' ')[1] ?? '';
    if (/^\/var\/lib\/nephos-agent\/mnt\/[0-9a-f-]{36}$/.test(target))
      await must(ssh, 'unmount a storage pool', ['umount', '--', target], 60);
  }
  for (const [directory] of directories) {
    if ((await ssh.exec(['test', '-d', directory])).code !== 0) continue;
    await must(ssh, `empty ${directory}`, ['find', directory, '-xdev', '-mindepth', '1', '-delete'], 120);
    // A directory that is a mount point of the operator's stays, empty.
    await ssh.exec(['rmdir', '--', directory]);
  }

  await ssh.exec(['nft', 'delete', 'table', 'bridge', 'nephos']);
  const links = await ssh.exec(['ip', '-oneline', 'link', 'show']);
  for (const [, name = ''] of links.stdout.matchAll(/^\d+: (cloud0|brvx-\d+|vxlan\d+)[:@]/gm))
    await ssh.exec(['ip', 'link', 'delete', 'dev', name]);
}

async function must(ssh: RemoteShell, doing: string, argv: readonly string[], timeoutSeconds = 30): Promise<string> {
  const { code, stdout, stderr } = await ssh.exec(argv, { timeoutSeconds });
  if (code !== 0) {
    const said = stderr.trim().split('\n').at(-1)?.slice(0, 200) ?? '';
    throw new CloudError('ResourceUnavailable', `the host could not ${doing}${said === '' ? '' : `: ${said}`}`, { argv: argv[0], code });
  }
  return stdout;
}

const serviceKind = async (ssh: RemoteShell): Promise<ServiceKind> =>
  (await must(ssh, 'tell its first process', ['cat', '/proc/1/comm'])).trim() === 'systemd' ? 'systemd' : 'init';

async function stopAgent(ssh: RemoteShell, service: ServiceKind): Promise<void> {
  const present = await ssh.exec(['test', '-e', service === 'systemd' ? places.systemdUnit : places.initScript]);
  if (present.code !== 0) return;
  for (const argv of serviceCommands[service].stop) await must(ssh, 'stop the earlier agent', argv, 60);
}

const has = async (ssh: RemoteShell, tool: string): Promise<boolean> => (await ssh.exec(['which', tool])).code === 0;

async function ensureTools(ssh: RemoteShell, driver: AgentConfig['driver'], step: (what: string) => void): Promise<void> {
  if (driver === 'simulated') return;
  const lacking = async (): Promise<string[]> => {
    const missing: string[] = [];
    for (const tool of Object.keys(TOOLS)) if (!(await has(ssh, tool))) missing.push(tool);
    return missing;
  };
  const missing = await lacking();
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((tool) => TOOLS[tool] ?? tool))];
  if (await has(ssh, 'apt-get')) {
    step(`install ${packages.join(', ')}`);
    await aptInstall(ssh, packages);
    if ((await lacking()).length === 0) return;
  }
  throw new CloudError('ResourceUnavailable', `the host lacks ${missing.join(', ')}; install ${packages.join(', ')} there and try again`);
}

async function aptInstall(ssh: RemoteShell, packages: readonly string[]): Promise<void> {
  const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-o', 'DPkg::Lock::Timeout=300'];
  // Package lists that are a little old are good enough; a failure shows below.
  await ssh.exec([...apt, 'update'], { timeoutSeconds: PACKAGES_SECONDS });
  await ssh.exec([...apt, 'install', '--yes', '--no-install-recommends', '--', ...packages], { timeoutSeconds: PACKAGES_SECONDS });
}

async function ensureNode(ssh: RemoteShell, step: (what: string) => void): Promise<{ path: string; version: string }> {
  const look = async (): Promise<{ path: string; version: string } | null> => {
    const { code, stdout } = await ssh.exec(['node', '--print', 'process.execPath + " " + process.version']);
    const [path, version] = stdout.trim().split(' ');
    const major = Number(/^v(\d+)\./.exec(version ?? '')?.[1] ?? 0);
    return code === 0 && path !== undefined && version !== undefined && major >= NODE_MAJOR_MIN ? { path, version } : null;
  };
  const found = await look();
  if (found) return found;
  if (await has(ssh, 'apt-get')) {
    step('install nodejs');
    await aptInstall(ssh, ['nodejs']);
    const installed = await look();
    if (installed) return installed;
  }
  throw new CloudError(
    'ResourceUnavailable',
    `the host has no Node.js ${NODE_MAJOR_MIN} or newer; install it there (package nodejs of Debian 13, or nodejs.org) so that root finds it as node, and try again`,
  );
}

/** The id of the agent that is installed now, if one is. */
async function installedId(ssh: RemoteShell): Promise<string | null> {
  const { code, stdout } = await ssh.exec(['cat', places.config]);
  if (code !== 0) return null;
  try {
    return parseJson(AgentConfig, stdout, places.config).id;
  } catch {
    return null;
  }
}
