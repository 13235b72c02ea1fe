/**
 * How the agent gets onto a host and simulated hosts come to life. This area knows when; whoever wires the server says how, because the
 * agent's own code is none of management's.
 */
import { CloudError } from '../../protocol/errors.ts';
import type { Id, Secret } from '../../protocol/schema.ts';
import type { RemoteShell } from './ssh.ts';

export interface HostJoin {
  readonly hostId: Id<'host'>;
  /** Works once and for ten minutes. */
  readonly joinToken: Secret;
  /** Of the authority's certificate, by which the agent knows management at its first contact. */
  readonly caSha256: string;
  /** What the agent dials: host:port, in order. */
  readonly servers: readonly string[];
}
export interface HostInstaller {
  /** Sees to it that the host has the tools an agent needs, which may take long; nothing of the cloud is left there. Throws what is missing. */
  readonly prepare: (shell: RemoteShell) => Promise<void>;
  /** Installs and starts the agent. Repeatable; an earlier agent there is replaced. */
  readonly install: (shell: RemoteShell, join: HostJoin) => Promise<void>;
  readonly uninstall: (shell: RemoteShell) => Promise<void>;
}
export interface SimulatedHosts {
  readonly has: (hostId: Id<'host'>) => boolean;
  /** Starts one that joins like any host. `url` is what addHost was given, `clusterId` says which share their storage. */
  readonly add: (join: HostJoin & { readonly url: string; readonly address: string; readonly clusterId: Id<'cluster'> }) => Promise<void>;
  readonly remove: (hostId: Id<'host'>) => Promise<void>;
}

let installer: HostInstaller | null = null;
let simulated: SimulatedHosts | null = null;

export const setHostInstaller = (given: HostInstaller | null): void => {
  installer = given;
};
export const setSimulatedHosts = (given: SimulatedHosts | null): void => {
  simulated = given;
};
export function hostInstaller(): HostInstaller {
  if (!installer) throw new CloudError('ResourceUnavailable', 'this management server has no agent to install on hosts');
  return installer;
}
export const simulatedHosts = (): SimulatedHosts | null => simulated;
