/** ssh into a system VM: port 3922 on the control address, root, with the cloud's keys only. */
import { chmod, mkdir } from 'node:fs/promises';
import { CloudError } from '../protocol/errors.ts';
import type { BootArguments } from './bootargs.ts';
import { runCommand } from './commands.ts';
import { readFileOrNull, writeFileIfChanged } from './files.ts';
import { SSH_PORT } from './firewall.ts';
import type { Machine } from './machine.ts';
import type { Processes } from './processes.ts';

export function compileSshdConfiguration(address: string, folder: string, authorizedKeysFile: string): string {
  return `Port ${SSH_PORT}
ListenAddress ${address}
HostKey ${folder}/host_key
AuthorizedKeysFile ${authorizedKeysFile}
PidFile none
PermitRootLogin prohibit-password
AllowUsers root
PubkeyAuthentication yes
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
AllowAgentForwarding no
AllowTcpForwarding no
X11Forwarding no
PermitTunnel no
PermitUserEnvironment no
PrintMotd no
UseDNS no
LoginGraceTime 30
MaxStartups 4:50:16
`;
}

/** The keys are replaced as a whole. sshd reads the file at each login, so an old key is refused from then on. */
export async function applyAuthorizedKeys({ authorizedKeysFile }: Machine, keys: readonly string[]): Promise<boolean> {
  return await writeFileIfChanged(authorizedKeysFile, keys.map((key) => `${key}\n`).join(''), { mode: 0o600 });
}

export async function startSshd(bootArguments: BootArguments, machine: Machine, daemons: Processes): Promise<void> {
  const address = bootArguments.nics.find(({ role }) => role === 'control')?.address;
  if (!address) throw new CloudError('InvalidParameter', 'there is no control address for ssh');
  const folder = `${machine.runFolder}/ssh`;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  await mkdir(machine.sshdPrivilegeFolder, { recursive: true, mode: 0o755 });
  // A second start of this program must not bring back a key that management has replaced meanwhile.
  if ((await readFileOrNull(machine.authorizedKeysFile)) === null) await applyAuthorizedKeys(machine, [bootArguments.authorizedKey]);
  if ((await readFileOrNull(`${folder}/host_key`)) === null)
    await runCommand('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', bootArguments.name, '-f', `${folder}/host_key`]);
  await writeFileIfChanged(`${folder}/sshd_config`, compileSshdConfiguration(address, folder, machine.authorizedKeysFile));
  await daemons.start({ name: 'sshd', command: '/usr/sbin/sshd', arguments: ['-D', '-e', '-f', `${folder}/sshd_config`] });
}
