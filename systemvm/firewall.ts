/** What may reach the system VM itself. Everything is closed but the ports of its kind, and ssh on the control NIC. */
import type { NicRole } from '../protocol/kinds.ts';
import type { BootArguments } from './bootargs.ts';
import { runCommand } from './commands.ts';

export const SSH_PORT = 3922;

type Ports = Partial<Record<NicRole, readonly number[]>>;

export function compileOwnFirewall(bootArguments: Pick<BootArguments, 'nics'>, listensTcp: Ports, listensUdp: Ports): string {
  const rules = bootArguments.nics.flatMap(({ device, role, address }) => {
    const accept = (protocol: 'tcp' | 'udp', ports: readonly number[]): string[] =>
      ports.length === 0 ? [] : [`    iifname "${device}" ${protocol} dport { ${ports.join(', ')} } accept`];
    return [
      ...(role === 'control' && address !== null ? [`    iifname "${device}" ip daddr ${address} tcp dport ${SSH_PORT} accept`] : []),
      ...accept('tcp', listensTcp[role] ?? []),
      ...accept('udp', listensUdp[role] ?? []),
    ];
  });
  // The first line makes the table exist, so that the second cannot fail; all of it is one transaction.
  return `table inet nephos_self
delete table inet nephos_self
table inet nephos_self {
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    ct state invalid drop
    meta l4proto icmp accept
${rules.join('\n')}
  }
}
`;
}

export async function applyOwnFirewall(bootArguments: BootArguments, listensTcp: Ports, listensUdp: Ports): Promise<void> {
  await runCommand('nft', ['-f', '-'], { input: compileOwnFirewall(bootArguments, listensTcp, listensUdp) });
}
