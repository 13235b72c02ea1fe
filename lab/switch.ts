import { readdir, readlink, rmdir, stat } from 'node:fs/promises';
import { z } from 'zod';
import { CloudError } from '../protocol/errors.ts';
import { command } from './command.ts';
import { exists } from './files.ts';
import { type ProcessIdentity, processesInNetworkNamespace, signal, waitUntilGone } from './pids.ts';
import { type LabNetwork, type MachinePlan, topology, type Wire } from './topology.ts';

const IP_TIMEOUT_SECONDS = 20;
const namespaceFile = (name: string): string => `/run/netns/${name}`;
const networks: readonly LabNetwork[] = ['management', 'storage', 'public'];

/** Several `ip` commands in one process; the first that fails ends it. Every word is one of ours, none has blanks. */
export const ipBatch = async (namespace: string | null, lines: readonly (readonly string[])[]): Promise<void> => {
  const input = `${lines.map((words) => words.join(' ')).join('\n')}\n`;
  await command('ip', [...(namespace === null ? [] : ['-n', namespace]), '-batch', '-'], { timeoutSeconds: IP_TIMEOUT_SECONDS, input });
};

const Links = z.array(
  z.object({
    ifname: z.string().optional(),
    master: z.string().optional(),
    addr_info: z.array(z.object({ local: z.string().optional() })).optional(),
  }),
);
const Routes = z.array(z.object({ dst: z.string().optional(), dev: z.string().optional() }));

const ipJson = async <T>(schema: z.ZodType<T>, namespace: string | null, words: readonly string[]): Promise<T> => {
  const { stdout } = await command('ip', [...(namespace === null ? [] : ['-n', namespace]), '-json', ...words], {
    timeoutSeconds: IP_TIMEOUT_SECONDS,
  });
  return schema.parse(JSON.parse(stdout.trim() || '[]'));
};

const linksOf = async (namespace: string | null): Promise<z.infer<typeof Links>> =>
  // `ip` prints empty objects for what a filter leaves out.
  (await ipJson(Links, namespace, ['address', 'show'])).filter((link) => link.ifname !== undefined);

/** The name alone is not proof: after a crash in the wrong moment it may be a plain file, without a namespace behind it. */
export const namespaceExists = async (name: string): Promise<boolean> => {
  try {
    await command('ip', ['-n', name, 'link', 'show', 'dev', 'lo'], { timeoutSeconds: IP_TIMEOUT_SECONDS });
    return true;
  } catch {
    return false;
  }
};

const disabledSettings = ['net.ipv4.ip_forward=0', 'net.ipv6.conf.all.forwarding=0'];

/** A namespace takes its settings over from the machine, which may forward packets; those of the lab do not, unless somebody in them says so. */
export const createNamespace = async (name: string): Promise<void> => {
  if (await exists(namespaceFile(name))) await command('ip', ['netns', 'delete', name], { timeoutSeconds: IP_TIMEOUT_SECONDS });
  await command('ip', ['netns', 'add', name], { timeoutSeconds: IP_TIMEOUT_SECONDS });
  await command('ip', ['netns', 'exec', name, 'sysctl', '-q', '-w', ...disabledSettings], { timeoutSeconds: IP_TIMEOUT_SECONDS });
  await ipBatch(name, [['link', 'set', 'lo', 'up']]);
};

/** Everything that runs inside, found by the namespace itself and not by what we remember of it. */
export const processesInNamespace = async (name: string): Promise<ProcessIdentity[]> => {
  const found = await stat(namespaceFile(name)).catch(() => null);
  if (found === null) return [];
  const own = await readlink('/proc/self/ns/net');
  const link = `net:[${found.ino}]`;
  // A name without a namespace behind it could point at the machine's own.
  return link === own ? [] : await processesInNetworkNamespace(link);
};

/** Kills what runs inside and removes the namespace. Its devices go with it, as does what they were plugged into. */
export const deleteNamespace = async (name: string): Promise<boolean> => {
  if (!(await exists(namespaceFile(name)))) return false;
  // A process may have made another between our look and its end.
  for (let inside = await processesInNamespace(name), round = 0; inside.length > 0; inside = await processesInNamespace(name), round++) {
    for (const identity of inside) await signal(identity, 'SIGKILL');
    if (!(await waitUntilGone(inside, 15)) || round === 10)
      throw new CloudError('Conflict', `processes in ${name} do not end, even killed`, { pids: inside.map(({ pid }) => pid) });
  }
  await command('ip', ['netns', 'delete', name], { timeoutSeconds: IP_TIMEOUT_SECONDS });
  return true;
};

/** `ip netns add` made the folder a mount of its own; when nothing uses it, both go. */
export const tidyNamespaceFolder = async (): Promise<void> => {
  const names = await readdir('/run/netns').catch(() => null);
  if (names === null || names.length > 0) return;
  // It may be mounted more than once, or not at all.
  for (let attempt = 0; attempt < 4; attempt++) {
    const { code } = await command('umount', ['/run/netns'], { timeoutSeconds: 10, acceptedCodes: [1, 32] });
    if (code !== 0) break;
  }
  await rmdir('/run/netns').catch(() => undefined);
};

export const removeLink = async (namespace: string | null, device: string): Promise<void> => {
  const place = namespace === null ? [] : ['-n', namespace];
  await command('ip', [...place, 'link', 'delete', 'dev', device], { timeoutSeconds: IP_TIMEOUT_SECONDS, acceptedCodes: [1, 255] });
};

const overlaps = (destination: string): boolean => /^(198\.1[89]\.|203\.0\.113\.)/.test(destination);

const refuseForeignUse = async (): Promise<void> => {
  const ours: readonly string[] = networks.flatMap((network) => (network === 'storage' ? [] : [topology.machine[network].device]));
  const routes = await ipJson(Routes, null, ['-4', 'route', 'show', 'table', 'all']);
  const foreign = routes.find(({ dst, dev }) => dst !== undefined && overlaps(dst) && !ours.includes(dev ?? ''));
  if (foreign !== undefined)
    throw new CloudError(
      'Conflict',
      `this machine already uses ${foreign.dst} on ${foreign.dev ?? 'some device'}; the lab needs 198.18.0.0/15 and 203.0.113.0/24`,
      {
        remedy: 'free these test networks, or run the lab on another machine',
      },
    );
};

/** The three bridges, and the two cables to the machine itself. Completes what a run cut short has left. */
export const ensureSwitch = async (): Promise<void> => {
  await refuseForeignUse();
  const { namespace, bridges, mtuBytes } = topology.switch;
  if (!(await namespaceExists(namespace))) await createNamespace(namespace);
  await command(
    'ip',
    ['netns', 'exec', namespace, 'sysctl', '-q', '-w', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1'],
    {
      timeoutSeconds: IP_TIMEOUT_SECONDS,
    },
  );
  const present = new Set((await linksOf(namespace)).map(({ ifname }) => ifname));
  for (const network of networks) {
    const bridge = bridges[network];
    if (!present.has(bridge))
      await ipBatch(namespace, [
        ['link', 'add', 'name', bridge, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0'],
      ]);
    // Set by hand, so the kernel does not lower it when a port with less comes.
    await ipBatch(namespace, [['link', 'set', 'dev', bridge, 'mtu', String(mtuBytes), 'up']]);
  }
  for (const network of ['management', 'public'] as const) await ensureMachineWire(network);
};

const ensureMachineWire = async (network: 'management' | 'public'): Promise<void> => {
  const { device, switchPort, address, mtuBytes, routes } = topology.machine[network];
  const { namespace, bridges } = topology.switch;
  const outside = (await linksOf(null)).find(({ ifname }) => ifname === device);
  const inside = (await linksOf(namespace)).find(({ ifname }) => ifname === switchPort);
  const whole = inside?.master === bridges[network] && outside?.addr_info?.some(({ local }) => local === address) === true;
  if (!whole) {
    if (outside !== undefined) await removeLink(null, device);
    if (inside !== undefined) await removeLink(namespace, switchPort);
    const mtu = ['mtu', String(mtuBytes)];
    await ipBatch(null, [
      [
        'link',
        'add',
        'name',
        device,
        ...mtu,
        'type',
        'veth',
        'peer',
        'name',
        switchPort,
        'netns',
        namespace,
        'mtu',
        String(topology.switch.mtuBytes),
      ],
    ]);
    await ipBatch(namespace, [['link', 'set', 'dev', switchPort, 'master', bridges[network], 'up']]);
    // The address alone, without the network's route: which parts of the network the machine reaches through it is said below.
    await ipBatch(null, [['address', 'add', `${address}/32`, 'dev', device]]);
  }
  // A machine that forwards packets for others must not become the lab's way out.
  await command('sysctl', ['-q', '-w', `net.ipv4.conf.${device}.forwarding=0`, `net.ipv6.conf.${device}.forwarding=0`], {
    timeoutSeconds: 10,
    acceptedCodes: [1, 255],
  });
  await ipBatch(null, [
    ['link', 'set', 'dev', device, 'up'],
    ...routes.map((route) => ['route', 'replace', route, 'dev', device, 'scope', 'link', 'src', address]),
  ]);
};

/** Plugs a machine of the lab into the switch; its namespace must be new. */
export const connectMachine = async (plan: MachinePlan): Promise<void> => {
  for (const wire of plan.wires) await connectWire(plan.name, wire);
};

const connectWire = async (name: string, wire: Wire): Promise<void> => {
  const { namespace, bridges, mtuBytes } = topology.switch;
  await removeLink(namespace, wire.switchPort);
  const mtu = ['mtu', String(wire.mtuBytes)];
  await ipBatch(namespace, [
    // biome-ignore format: one cable, one line.
    ['link', 'add', 'name', wire.switchPort, 'mtu', String(mtuBytes), 'type', 'veth', 'peer', 'name', wire.device, 'netns', name, 'address', wire.mac, ...mtu],
    ['link', 'set', 'dev', wire.switchPort, 'master', bridges[wire.network], 'up'],
  ]);
  const holder = wire.bridge ?? wire.device;
  const lines: string[][] = [];
  if (wire.bridge !== null) {
    const bridge = ['link', 'add', 'name', wire.bridge, 'address', wire.mac, 'type', 'bridge'];
    lines.push([...bridge, 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0']);
    lines.push(['link', 'set', 'dev', wire.device, 'addrgenmode', 'none', 'master', wire.bridge, 'up']);
  }
  // A host that has no address in a network must not be reachable there by the one that IPv6 makes up.
  lines.push(['link', 'set', 'dev', holder, ...mtu, ...(wire.address === null ? ['addrgenmode', 'none'] : []), 'up']);
  if (wire.address !== null)
    lines.push(['address', 'add', `${wire.address}/${topology.networks[wire.network].prefixLength}`, 'dev', holder]);
  await ipBatch(name, lines);
};

/** Pulls the cables at the switch's end first: the kernel removes a namespace's devices some time later, and the names must be free at once. */
export const disconnectMachine = async (plan: MachinePlan): Promise<void> => {
  if (!(await namespaceExists(topology.switch.namespace))) return;
  for (const { switchPort } of plan.wires) await removeLink(topology.switch.namespace, switchPort);
};

/** The cable stays in and goes dead, or comes alive again. */
export const setWires = async (plan: MachinePlan, cut: readonly LabNetwork[], state: 'up' | 'down'): Promise<void> => {
  const lines = plan.wires
    .filter(({ network }) => cut.includes(network))
    .map(({ switchPort }) => ['link', 'set', 'dev', switchPort, state]);
  if (lines.length > 0) await ipBatch(topology.switch.namespace, lines);
};

export const removeSwitch = async (): Promise<void> => {
  for (const network of ['management', 'public'] as const)
    if (await exists(`/sys/class/net/${topology.machine[network].device}`)) await removeLink(null, topology.machine[network].device);
  await deleteNamespace(topology.switch.namespace);
};
