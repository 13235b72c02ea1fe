/** `npm run status`: components, agents, system VMs and VMs as tables. */
import { adminClient } from './demo.ts';
import { HTTP_PORT, pathsOf, varDirectory } from './installation.ts';
import { labStatus } from './lab.ts';
import { processStatus } from './processes.ts';
import { servicesStatus } from './services.ts';

export function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const texts = [head, ...rows.map((row) => row.map((cell) => String(cell ?? '-')))];
  const widths = head.map((_, column) => Math.max(...texts.map((row) => (row[column] ?? '').length)));
  return texts.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd()).join('\n');
}

export async function status(varDir: string): Promise<{ text: string; up: boolean }> {
  const services = await servicesStatus(varDir);
  const management = await processStatus(pathsOf(varDir).managementPid);
  const healthy =
    management === 'running' &&
    (await fetch(`http://127.0.0.1:${HTTP_PORT}/healthz`, { signal: AbortSignal.timeout(3000) }).then(
      ({ ok }) => ok,
      () => false,
    ));
  const lab = await labStatus();
  const parts = [
    'Components',
    table(
      ['name', 'state'],
      [
        ...Object.entries(services),
        ['management server', management === 'running' ? (healthy ? 'running' : 'running, not healthy') : 'stopped'],
        ...lab.machines.map(({ name, power, answers }) => [name, power === 'on' ? (answers ? 'on' : 'on, does not answer') : 'off']),
      ],
    ),
  ];
  if (!healthy) return { text: parts.join('\n'), up: false };
  const admin = await adminClient(varDir);
  const hosts = await admin.list('listHosts', { type: 'Routing' });
  const systemVms = await admin.list('listSystemVms');
  const routers = await admin.list('listRouters', { listall: true });
  const vms = await admin.list('listVirtualMachines', { listall: true });
  parts.push(
    '',
    'Hosts',
    table(
      ['name', 'address', 'agent', 'resource state', 'version'],
      hosts.map((host) => [host.name, host.ipaddress, host.state, host.resourcestate, host.version]),
    ),
    '',
    'System VMs',
    table(
      ['name', 'type', 'state', 'agent', 'public', 'host'],
      [
        ...systemVms.map((vm) => [vm.name, vm.systemvmtype, vm.state, vm.agentstate, vm.publicip, vm.hostname]),
        ...routers.map((vm) => [
          vm.name,
          `router of ${vm.guestnetworkname}`,
          vm.state,
          vm.state === 'Running' ? 'Up' : '-',
          vm.publicip,
          vm.hostname,
        ]),
      ],
    ),
    '',
    'Virtual machines',
    table(
      ['name', 'account', 'state', 'address', 'host'],
      vms.map((vm) => [vm.name, vm.account, vm.state, vm.ipaddress, vm.hostname]),
    ),
  );
  return { text: parts.join('\n'), up: true };
}

if (process.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const { text, up } = await status(varDirectory);
  console.log(text);
  process.exit(up ? 0 : 1);
}
