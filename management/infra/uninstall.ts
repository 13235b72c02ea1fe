import type { Services } from '../core/services.ts';
import { cloudSshKey } from '../core/ssh-key.ts';
import type { HostRow } from './entities.ts';
import { hostInstaller, simulatedHosts } from './installer.ts';
import { openShell } from './ssh.ts';

/**
 * Takes the agent off a host that is no more ours, as far as that can be done: only hosts that know the cloud's ssh key let us in again.
 * An agent that stays there is refused at the door, because its certificate is revoked.
 */
export async function takeAgentOff(services: Services, { id, name, address, sshPort, sshHostKey, hypervisor }: HostRow): Promise<void> {
  const { log } = services;
  try {
    if (hypervisor === 'Simulator') {
      await simulatedHosts()?.remove(id);
      return;
    }
    const installer = hostInstaller();
    const { privateKey } = await cloudSshKey(services);
    const shell = await openShell({ address, port: sshPort, username: 'root', login: { privateKey }, expectedHostKey: sshHostKey });
    try {
      await installer.uninstall(shell);
      log.info({ host: name, id }, 'the agent was taken off the host');
    } finally {
      shell.close();
    }
  } catch (error) {
    log.warn(
      { err: error, host: name, id },
      'the agent stays on the host, where it can do nothing; remove it there by hand if it disturbs',
    );
  }
}
