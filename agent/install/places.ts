/** Where an installed agent's files are. */
export const places = {
  program: '/opt/nephos-agent/agent.mjs',
  supervisor: '/opt/nephos-agent/supervise.sh',
  config: '/etc/nephos-agent/agent.json',
  state: '/var/lib/nephos-agent',
  log: '/var/log/nephos-agent/agent.log',
  systemdUnit: '/etc/systemd/system/nephos-agent.service',
  initScript: '/etc/init.d/nephos-agent',
  pid: '/run/nephos-agent.pid',
} as const;

export const directories = [
  ['/opt/nephos-agent', '0755'],
  ['/etc/nephos-agent', '0700'],
  ['/var/lib/nephos-agent', '0711'],
  ['/var/log/nephos-agent', '0750'],
] as const;
