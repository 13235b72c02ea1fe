/** The simulated hosts of a cloud, with what runs on them: in memory, over real links through cables that can be cut. */
import { type SimulatedHost, type SimulatedStorage, simulatedHost } from '../../agent/hypervisors/simulated/index.ts';
import type { SimulatedHosts } from '../../management/infra/index.ts';
import type { CloudError } from '../../protocol/errors.ts';
import type { SystemVmKindName } from '../../protocol/kinds.ts';
import { type AgentLink, openAgentLink } from '../../protocol/link/agent-link.ts';
import { memoryIdentityStore } from '../../protocol/link/identity.ts';
import { createLog } from '../../protocol/log.ts';
import { openRelay, type Relay } from './relay.ts';
import { type BootFailure, type SimulatedSystemVm, simulatedConsole, startSimulatedSystemVm } from './simulated-system-vm.ts';

export interface SimulationOptions {
  readonly failure?: (hostId: string, message: string, ask: unknown) => CloudError | null;
  readonly latencyMs?: (message: string) => number;
  readonly downloadMs?: number;
  /** A system VM that is started now does not come further than this stage. */
  readonly bootFailure?: (kind: SystemVmKindName) => BootFailure | null;
  readonly host?: { readonly cpuCount?: number; readonly memoryMib?: number };
}

/** What a test sees of them and does to them. */
export interface Simulated {
  readonly hosts: ReadonlyMap<string, SimulatedHost>;
  readonly systemVms: ReadonlyMap<string, SimulatedSystemVm>;
  /** Files of the pools by cluster. */
  readonly storage: ReadonlyMap<string, SimulatedStorage>;
  /** Ends a simulated host's link: the cable is cut, it goes silent without a word, or the agent stops and says so. */
  readonly cutHost: (id: string, how?: 'cut' | 'mute' | 'goodbye') => Promise<void>;
  readonly isCut: (id: string) => boolean;
  /** Brings it back, with the identity it had. */
  readonly mendHost: (id: string) => void;
}
export interface Simulation extends Simulated {
  readonly simulator: SimulatedHosts;
  readonly close: () => Promise<void>;
}

interface Ends {
  link: AgentLink;
  readonly relay: Relay;
  readonly reopen: () => AgentLink;
  cut: 'cut' | 'mute' | 'goodbye' | null;
}

/** `linkPort`: where management hears agents on 127.0.0.1. */
export function openSimulation(linkPort: () => number, options: SimulationOptions = {}): Simulation {
  const hosts = new Map<string, SimulatedHost>();
  const hostLinks = new Map<string, Ends>();
  const systemVms = new Map<string, SimulatedSystemVm>();
  const consoles = new Map<string, string>();
  const storageOf = new Map<string, SimulatedStorage>();
  const endsOf = (id: string): Ends => {
    const ends = hostLinks.get(id);
    if (!ends) throw new TypeError('there is no such host');
    return ends;
  };

  const simulator: SimulatedHosts = {
    has: (id) => hosts.has(id),
    add: async ({ hostId, joinToken, caSha256, url, clusterId }) => {
      const relay = await openRelay(() => ({ host: '127.0.0.1', port: linkPort() }));
      const storage = storageOf.get(clusterId) ?? new Map();
      storageOf.set(clusterId, storage);
      const { latencyMs, failure } = options;
      const host = simulatedHost({
        id: hostId,
        cpuCount: options.host?.cpuCount ?? 16,
        memoryMib: options.host?.memoryMib ?? 65_536,
        hostName: url.replace(/^http:\/\/sim\//, '').replaceAll('/', '-'),
        bridges: ['cloudbr0', 'cloudbr1', 'cloudbr2'],
        storage,
        ...(latencyMs ? { latencyMilliseconds: latencyMs } : {}),
        ...(failure ? { failure: (message: string, ask: unknown) => failure(hostId, message, ask) } : {}),
        serialLog: ({ id, name }) => consoles.get(id) ?? `${name} runs in a simulation\n`,
        onPower: (spec, power) => {
          if (spec.kind === 'guest') return;
          const running = systemVms.get(spec.id);
          systemVms.delete(spec.id);
          if (running) void running.link.close();
          if (power !== 'On') return;
          const failure = options.bootFailure?.(spec.kind) ?? null;
          consoles.set(spec.id, simulatedConsole(spec.kind, failure));
          if (failure) return;
          // A router knows the control network only and dials its host's relay.
          const dialled = spec.kind === 'router' ? `127.0.0.1:${relay.port}` : `127.0.0.1:${linkPort()}`;
          systemVms.set(spec.id, startSimulatedSystemVm(spec, dialled, { downloadMs: options.downloadMs ?? 0 }));
        },
      });
      const store = memoryIdentityStore();
      const open = () => {
        const link = openAgentLink({
          kind: 'host',
          id: hostId,
          servers: [`127.0.0.1:${relay.port}`],
          join: { token: joinToken.reveal(), caSha256 },
          store,
          version: 'simulated',
          handlers: host.handlers,
          beat: () => host.beat(),
          onUp: () => host.linkUp(),
          log: createLog('host', { level: 'silent' }),
        });
        host.watch(() => {
          link.ring('machine');
          link.beatNow();
        });
        return link;
      };
      hosts.set(hostId, host);
      hostLinks.set(hostId, { link: open(), relay, reopen: open, cut: null });
    },
    remove: async (hostId) => {
      const ends = hostLinks.get(hostId);
      await ends?.link.close();
      await ends?.relay.close();
      hostLinks.delete(hostId);
      hosts.delete(hostId);
    },
  };

  return {
    simulator,
    hosts,
    systemVms,
    storage: storageOf,
    cutHost: async (id, how = 'cut') => {
      const ends = endsOf(id);
      ends.cut = how;
      if (how === 'goodbye') await ends.link.close();
      else ends.relay[how]();
    },
    isCut: (id) => Boolean(hostLinks.get(id)?.cut),
    mendHost: (id) => {
      const ends = endsOf(id);
      if (ends.cut === 'goodbye') ends.link = ends.reopen();
      else ends.relay.mend();
      ends.cut = null;
    },
    close: async () => {
      for (const { link } of systemVms.values()) await link.close();
      for (const { link, relay } of hostLinks.values()) {
        relay.mend();
        await link.close();
        await relay.close();
      }
    },
  };
}
