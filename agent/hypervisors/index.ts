/** THE LIST of drivers: what carries this host's machines. */
import type { LinkIdentity } from '../../protocol/link/identity.ts';
import type { Log } from '../../protocol/log.ts';
import type { AgentConfig } from '../config.ts';
import type { Host } from './hypervisor.ts';
import { libvirtHost } from './libvirt/index.ts';
import { simulatedHost } from './simulated/index.ts';

export interface DriverOptions {
  readonly config: AgentConfig;
  /** The host's own certificate, once it has one. */
  readonly identity: () => LinkIdentity | null;
  readonly log: Log;
}

export const drivers = {
  libvirt: libvirtHost,
  simulated: async ({ config }) => simulatedHost({ id: config.id, ...(config.simulated ?? { cpuCount: 8, memoryMib: 16_384 }) }),
} satisfies Record<AgentConfig['driver'], (options: DriverOptions) => Promise<Host>>;
