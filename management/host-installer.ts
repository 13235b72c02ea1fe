/** Puts the agent onto hosts with the installer that was built beside it; management knows its shape and nothing else of it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CloudError } from '../protocol/errors.ts';
import type { Config } from './config.ts';
import type { HostInstaller, HostJoin } from './infra/index.ts';

type Shell = Parameters<HostInstaller['prepare']>[0];
/** What `install.mjs` offers. */
interface Installer {
  readonly prepareHost: (shell: Shell) => Promise<unknown>;
  readonly installAgent: (
    shell: Shell,
    installation: { id: string; servers: readonly string[]; join: { token: string; caSha256: string }; bundle: Uint8Array },
  ) => Promise<unknown>;
  readonly uninstallAgent: (shell: Shell) => Promise<void>;
}

export function hostInstallerOf({ agentDirectory }: Pick<Config, 'agentDirectory'>): HostInstaller | null {
  if (agentDirectory === null) return null;
  const load = async (): Promise<Installer> => {
    const path = join(agentDirectory, 'install.mjs');
    const loaded: Partial<Installer> = await import(pathToFileURL(path).href).catch((error: unknown) => {
      throw new CloudError('ResourceUnavailable', 'the agent for hosts is not there; build it with npm run build', { path, cause: error });
    });
    const { prepareHost, installAgent, uninstallAgent } = loaded;
    if (!prepareHost || !installAgent || !uninstallAgent)
      throw new CloudError('ResourceUnavailable', 'the agent for hosts is of another release', { path });
    return { prepareHost, installAgent, uninstallAgent };
  };
  return {
    prepare: async (shell) => void (await (await load()).prepareHost(shell)),
    install: async (shell, { hostId, joinToken, caSha256, servers }: HostJoin) => {
      const bundle = await readFile(join(agentDirectory, 'agent.mjs'));
      await (await load()).installAgent(shell, { id: hostId, servers, join: { token: joinToken.reveal(), caSha256 }, bundle });
    },
    uninstall: async (shell) => (await load()).uninstallAgent(shell),
  };
}
