/** The whole configuration in; files, rules and reloads out. Applied twice it changes nothing the second time. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Log } from '../protocol/log.ts';
import { RouterConfiguration } from '../protocol/messages/router.ts';
import { type Infer, parse, s } from '../protocol/schema.ts';
import { runCommand } from '../systemvm/commands.ts';
import { readFileOrNull, writeFileIfChanged } from '../systemvm/files.ts';
import type { Machine } from '../systemvm/machine.ts';
import { setSysctl } from '../systemvm/network.ts';
import type { DaemonState, Processes } from '../systemvm/processes.ts';
import { compileAddresses, compileRouter, type PresentNetwork, type RouterPlan, routerSysctls } from './compile.ts';
import { dnsmasq } from './dnsmasq.ts';
import { guestServices } from './guest-services.ts';
import { rules } from './rules.ts';
import type { ServiceName } from './services/index.ts';

/** Kept in memory-backed storage, so that this program can be started again without asking management. */
const StoredState = s.object({
  configuration: RouterConfiguration,
  saved: s.record(s.object({ generation: s.int(), digest: s.sha256() }), { max: 65_536 }),
});
type StoredState = Infer<typeof StoredState>;

export interface RouterReadBack {
  generation: number;
  fingerprint: string;
  drift: string[];
  services: Record<string, DaemonState>;
  passwordsSaved: Record<string, number>;
}
export interface Router {
  readonly apply: (configuration: RouterConfiguration) => Promise<{ generation: number; changedFiles: number }>;
  /** Applies what was in force when this program ended, if anything was. */
  readonly restore: () => Promise<void>;
  /** Reads kernel and daemons. */
  readonly read: () => Promise<RouterReadBack>;
  /** What is known without asking anybody; `read` refreshes it. */
  readonly known: () => { generation: number; drift: string[] };
  readonly close: () => Promise<void>;
}

/** Digest of a value whatever the order of its fields. */
export function fingerprintOf(value: unknown): string {
  const ordered = (part: unknown): unknown => {
    if (Array.isArray(part)) return part.map(ordered);
    if (typeof part !== 'object' || part === null) return part;
    return Object.fromEntries(
      Object.entries(part)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, inner]) => [key, ordered(inner)]),
    );
  };
  return createHash('sha256')
    .update(JSON.stringify(ordered(value)))
    .digest('hex');
}

/** Addresses, MTUs and default routes as they are; read without running a program. */
function readPresent({ netFolder }: Machine, devices: readonly string[]): PresentNetwork {
  const addresses = networkInterfaces();
  const read = (path: string): string => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  };
  const routes = read('/proc/net/route');
  return {
    nics: new Map(
      devices.map((device) => [
        device,
        {
          addresses: (addresses[device] ?? []).flatMap(({ family, cidr }) => (family === 'IPv4' && cidr !== null ? [cidr] : [])),
          mtu: Number(read(`${netFolder}/${device}/mtu`)),
        },
      ]),
    ),
    defaultRoutes: routes.split('\n').flatMap((line) => {
      const [device, destination, gateway = ''] = line.split('\t');
      if (device === undefined || destination !== '00000000' || !/^[0-9A-F]{8}$/.test(gateway)) return [];
      return [{ device, gateway: [...Buffer.from(gateway, 'hex')].reverse().join('.') }];
    }),
  };
}

export function createRouter(options: { machine: Machine; daemons: Processes; log: Log; onPasswordSaved: () => void }): Router {
  const { machine, daemons, log } = options;
  const folder = `${machine.runFolder}/router`;
  const stateFile = `${machine.runFolder}/private/router.json`;
  const daemon = dnsmasq({ folder, daemons });
  const table = rules({ folder });
  let applied: { configuration: RouterConfiguration; plan: RouterPlan } | null = null;
  let drift: string[] = [];
  let queue: Promise<unknown> = Promise.resolve();

  const store = async (): Promise<void> => {
    if (applied === null) return;
    const state: StoredState = { configuration: applied.configuration, saved: Object.fromEntries(guests.saved()) };
    await writeFileIfChanged(stateFile, JSON.stringify(state), { mode: 0o600 });
  };
  const guests = guestServices({
    onPasswordSaved: () => {
      store().catch((error: unknown) => log.error({ err: error }, 'could not keep that a password was saved'));
      options.onPasswordSaved();
    },
  });

  const makeSo = async (configuration: RouterConfiguration): Promise<{ generation: number; changedFiles: number }> => {
    if (applied !== null && configuration.generation < applied.configuration.generation)
      return { generation: applied.configuration.generation, changedFiles: 0 };
    const plan = compileRouter(configuration, folder);
    const devices = [configuration.guest.device, ...(configuration.public === null ? [] : [configuration.public.device])];
    const addresses = compileAddresses(configuration, readPresent(machine, devices));
    for (const [name, value] of routerSysctls) setSysctl(machine, name, value);
    if (addresses !== '') {
      await runCommand('ip', ['-batch', '-'], { input: addresses });
      await Promise.all(devices.map(announce));
    }
    const [rulesChanged, dnsmasqChanged] = await Promise.all([
      table.apply(plan),
      daemon.apply(plan.dnsmasq),
      guests.apply(configuration.guest.address, configuration.userData),
    ]);
    setSysctl(machine, 'net/ipv4/ip_forward', '1');
    applied = { configuration, plan };
    drift = [];
    await store();
    return { generation: configuration.generation, changedFiles: rulesChanged + dnsmasqChanged };
  };
  /** Tells the neighbours of a NIC's addresses: setting the MAC that it already has makes the kernel do so. */
  const announce = async (device: string): Promise<void> => {
    try {
      const mac = readFileSync(`${machine.netFolder}/${device}/address`, 'utf8').trim();
      await runCommand('ip', ['link', 'set', 'dev', device, 'address', mac]);
    } catch (error) {
      // They find out by themselves, a little later.
      log.warn({ err: error, device }, 'an address could not be announced');
    }
  };
  /** One at a time, in the order they came. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = queue.then(work);
    queue = result.catch(() => undefined);
    return result;
  };

  const serviceStates = (): Record<string, DaemonState> => ({
    ...Object.fromEntries(daemons.names().map((name) => [name, daemons.state(name)])),
    ...guests.states(),
  });
  /** Services whose daemon is not as it should be; asks nobody. */
  const daemonDrift = (): ServiceName[] => {
    if (applied === null) return [];
    const { configuration } = applied;
    const hasDnsmasq = daemon.state() === 'running';
    const hasGuests = Object.values(guests.states()).every((state) => state === 'running');
    return [
      ...(configuration.dhcp !== null && !hasDnsmasq ? (['dhcp'] as const) : []),
      ...(configuration.dns !== null && !hasDnsmasq ? (['dns'] as const) : []),
      ...(configuration.userData !== null && !hasGuests ? (['userData'] as const) : []),
    ];
  };
  const fileDrift = async ({ plan, configuration }: NonNullable<typeof applied>): Promise<ServiceName[]> => {
    const wanted = plan.dnsmasq === null ? {} : { [`${folder}/dnsmasq.conf`]: plan.dnsmasq.configuration, ...plan.dnsmasq.files };
    const services: ServiceName[] = [];
    for (const [path, content] of Object.entries(wanted)) {
      if ((await readFileOrNull(path))?.toString('utf8') === content) continue;
      if (configuration.dhcp !== null && !path.endsWith('/dns-hosts')) services.push('dhcp');
      if (configuration.dns !== null && !path.endsWith('/dhcp-hosts')) services.push('dns');
    }
    return services;
  };

  return {
    apply: (configuration) => inTurn(() => makeSo(configuration)),
    restore: () =>
      inTurn(async () => {
        const stored = await readFileOrNull(stateFile);
        if (stored === null || applied !== null) return;
        const state = parse(StoredState, JSON.parse(stored.toString('utf8')), 'the stored router state');
        guests.restoreSaved(new Map(Object.entries(state.saved)));
        await makeSo(state.configuration);
      }),
    read: () =>
      inTurn(async () => {
        const services = serviceStates();
        if (applied === null) return { generation: 0, fingerprint: '', drift: [], services, passwordsSaved: {} };
        const { blockOwners } = applied.plan;
        const owners = (await table.changedBlocks()).map((block): ServiceName => blockOwners.get(block) ?? 'firewall');
        drift = [...new Set([...owners, ...(await fileDrift(applied)), ...daemonDrift()])].sort();
        return {
          generation: applied.configuration.generation,
          fingerprint: fingerprintOf(applied.configuration),
          drift,
          services,
          passwordsSaved: Object.fromEntries([...guests.saved()].map(([address, { generation }]) => [address, generation])),
        };
      }),
    known: () => ({
      generation: applied?.configuration.generation ?? 0,
      drift: [...new Set([...drift, ...daemonDrift()])].sort(),
    }),
    close: async () => {
      await queue;
      await guests.close();
    },
  };
}
