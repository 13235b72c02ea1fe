/** A system VM that exists in memory only: it joins with the token of its boot arguments and keeps its kind's messages' promises. */
import { createHash } from 'node:crypto';
import { CloudError } from '../../protocol/errors.ts';
import type { SystemVmKindName } from '../../protocol/kinds.ts';
import { type AgentLink, openAgentLink } from '../../protocol/link/agent-link.ts';
import { memoryIdentityStore } from '../../protocol/link/identity.ts';
import { createLog } from '../../protocol/log.ts';
import { type Handler, on } from '../../protocol/message.ts';
import type { Beat } from '../../protocol/messages/beat.ts';
import { ApplyConsoleProxy, CloseConsole, ListConsoles, OpenConsole } from '../../protocol/messages/console.ts';
import { ApplySecondaryStorage, DownloadImage, MeasureStore, RemoveStoredImage } from '../../protocol/messages/image.ts';
import type { MachineSpec } from '../../protocol/messages/machine.ts';
import { ApplyRouter, ReadRouter, type RouterConfiguration } from '../../protocol/messages/router.ts';
import { ApplyAuthorizedKeys, DescribeSystemVm } from '../../protocol/messages/systemvm.ts';
import { type BootArguments, parseBootArguments } from '../../systemvm/bootargs.ts';

const GIB = 2 ** 30;

export interface SimulatedSystemVm {
  readonly kind: SystemVmKindName;
  readonly id: string;
  /** What the router was told last; null before, and for other kinds. */
  readonly configuration: () => RouterConfiguration | null;
  /** The keys that open it: that of its boot arguments until it is told others. */
  readonly authorizedKeys: () => readonly string[];
  /** The guest at this address has fetched its password from this router and says that it has saved it. */
  readonly savePassword: (address: string) => void;
  readonly link: AgentLink;
}

export interface Role {
  readonly handlers: readonly Handler[];
  readonly beat: () => Promise<Beat>;
  readonly configuration: () => RouterConfiguration | null;
  readonly savePassword?: (address: string) => void;
}

/** The stages of a boot, with made-up times. */
const BOOT: readonly (readonly [stage: string, atSeconds: number])[] = [
  ['boot', 1.01],
  ['payload', 1.22],
  ['role', 1.25],
];
const PROGRAM: readonly (readonly [stage: string, atSeconds: number])[] = [
  ['agent', 2.01],
  ['arguments', 2.02],
  ['network', 2.31],
  ['role', 2.35],
  ['link', 3.12],
  ['firewall', 3.4],
  ['ssh', 3.81],
  ['ready', 3.82],
];
const lineOf = ([stage, atSeconds]: readonly [string, number], words = ''): string =>
  `NEPHOS-STAGE ${stage} ${atSeconds.toFixed(2)}${words}\r\n`;

export interface BootFailure {
  readonly stage: 'arguments' | 'network' | 'role' | 'unknown-type';
  readonly reason: string;
}
/** What the serial console says of a boot, or of one whose stage fails each time the program is started. */
export function simulatedConsole(kind: string, failure: BootFailure | null): string {
  const begun = `Linux version 6.12\r\n${BOOT.map((stage) => lineOf(stage, stage[0] === 'role' ? ` ${kind}` : '')).join('')}`;
  if (!failure) return `${begun}${PROGRAM.map((stage) => lineOf(stage)).join('')}`;
  // Told before any program is started, and nothing comes after it.
  if (failure.stage === 'unknown-type') return `${begun.replace(/NEPHOS-STAGE role.*/, '')}${lineOf(['unknown-type', 1.3])}`;
  const broken = (laterSeconds: number): string =>
    PROGRAM.slice(0, PROGRAM.findIndex(([stage]) => stage === failure.stage) + 1)
      .map(([stage, at]) => lineOf([stage, at + laterSeconds], stage === failure.stage ? ` failed: ${failure.reason}` : ''))
      .join('');
  return `${begun}${broken(0)}${lineOf(['role-exited', 17.5], ' 1')}${lineOf(['role', 18.5], ` ${kind}`)}${broken(18)}`;
}

/** What runs in a system VM with these boot arguments, without its link. */
export function simulatedRole(
  spec: MachineSpec,
  { downloadMs = 0 }: { downloadMs?: number } = {},
): Role & { readonly boot: BootArguments; readonly authorizedKeys: () => readonly string[] } {
  if (spec.boot.kind !== 'direct') throw new TypeError('a system VM boots its kernel directly');
  const boot = parseBootArguments(spec.boot.arguments);
  const role = roles[boot.kind](downloadMs);
  let authorizedKeys: readonly string[] = [boot.authorizedKey];
  const common = [
    on(DescribeSystemVm, async () => ({
      version: 'simulated',
      operatingSystem: 'simulated',
      kernel: 'simulated',
      node: process.version,
      residentMib: 1,
      stages: PROGRAM.map(([stage, atSeconds]) => ({ stage, atSeconds, detail: '' })),
    })),
    on(ApplyAuthorizedKeys, async ({ keys }) => {
      authorizedKeys = keys;
      return {};
    }),
  ];
  return { ...role, boot, authorizedKeys: () => authorizedKeys, handlers: [...common, ...role.handlers] };
}

export function startSimulatedSystemVm(spec: MachineSpec, server: string, options: { downloadMs?: number } = {}): SimulatedSystemVm {
  const { boot, handlers, beat, configuration, authorizedKeys, savePassword } = simulatedRole(spec, options);
  const { kind, id, caSha256 } = boot;
  const link = openAgentLink({
    kind,
    id,
    servers: [server],
    join: { token: boot.token.reveal(), caSha256 },
    store: memoryIdentityStore(),
    version: 'simulated',
    handlers,
    beat,
    log: createLog(boot.name, { level: 'silent' }),
  });
  return {
    kind,
    id,
    link,
    configuration,
    authorizedKeys,
    savePassword: (address) => {
      savePassword?.(address);
      link.ring('router');
    },
  };
}

const roles: Record<SystemVmKindName, (downloadMs: number) => Role> = {
  'console-proxy': () => {
    const sessions = new Map<string, { expiresAt: number; ended: boolean }>();
    return {
      configuration: () => null,
      beat: async () => ({ consoleProxy: { sessions: 0 } }),
      handlers: [
        on(ApplyConsoleProxy, async ({ generation }) => ({ generation })),
        on(OpenConsole, async ({ sessionId, expiresAt }) => {
          sessions.set(sessionId, { expiresAt, ended: false });
          return {};
        }),
        on(CloseConsole, async ({ sessionId }) => {
          const session = sessions.get(sessionId);
          if (session) session.ended = true;
          return {};
        }),
        on(ListConsoles, async () => ({
          sessions: [...sessions].map(([sessionId, { expiresAt, ended }]) => ({
            sessionId: sessionId as never,
            state: ended ? ('Ended' as const) : expiresAt < Date.now() ? ('Expired' as const) : ('Waiting' as const),
            clientAddress: null,
            acquiredAt: null,
            endedAt: null,
          })),
        })),
      ],
    };
  },
  'secondary-storage': (downloadMs) => {
    const images = new Map<string, string>();
    const asks = new Map<string, number>();
    return {
      configuration: () => null,
      beat: async () => ({ secondaryStorage: { activeCommands: 0, downloads: [] } }),
      handlers: [
        on(ApplySecondaryStorage, async ({ generation }) => ({ generation })),
        on(DownloadImage, async ({ imageId, url }) => {
          await new Promise((resolve) => setTimeout(resolve, downloadMs));
          // An image server of the simulation is away as often as the image's name says.
          const asked = (asks.get(imageId) ?? 0) + 1;
          asks.set(imageId, asked);
          if (asked <= Number(new URL(url).searchParams.get('away') ?? 0))
            throw new CloudError('Unreachable', 'the server images.simulated.example refuses the connection');
          const sha256 = createHash('sha256').update(url).digest('hex');
          images.set(imageId, sha256);
          return {
            downloadedBytes: GIB / 4,
            sizeBytes: GIB / 4,
            virtualSizeBytes: GIB,
            sha256,
            checksum: `{SHA-512}${createHash('sha512').update(url).digest('hex')}`,
          };
        }),
        on(RemoveStoredImage, async ({ imageId }) => {
          images.delete(imageId);
          return {};
        }),
        on(MeasureStore, async () => ({ totalBytes: 1000 * GIB, usedBytes: (images.size * GIB) / 4 })),
      ],
    };
  },
  router: () => {
    let applied: RouterConfiguration | null = null;
    const saved: Record<string, number> = {};
    return {
      savePassword: (address) => {
        const password = applied?.userData?.guests.find((guest) => guest.address === address)?.password;
        if (password) saved[address] = password.generation;
      },
      beat: async () => ({ router: { generation: applied?.generation ?? 0, drift: [] } }),
      configuration: () => applied,
      handlers: [
        on(ApplyRouter, async (wanted) => {
          const newer = !applied || wanted.generation >= applied.generation;
          if (newer) applied = wanted;
          return { generation: applied?.generation ?? wanted.generation, changedFiles: newer ? 1 : 0 };
        }),
        on(ReadRouter, async () => ({
          generation: applied?.generation ?? 0,
          fingerprint: '',
          drift: [],
          services: {},
          passwordsSaved: { ...saved },
        })),
      ],
    };
  },
};
