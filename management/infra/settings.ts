import { setting } from '../core/settings.ts';

const factor = { min: 1, max: 100, scopes: ['global', 'cluster'] } as const;
export const cpuOverprovisioning = setting.decimal('cpu.overprovisioning.factor', 1, {
  ...factor,
  about: 'How many times the CPU of its hosts a cluster may promise to machines.',
});
export const memoryOverprovisioning = setting.decimal('mem.overprovisioning.factor', 1, {
  ...factor,
  about: 'How many times the memory of its hosts a cluster may promise to machines.',
});

const share = { min: 0.01, max: 1, scopes: ['global', 'cluster'] } as const;
export const cpuDisableThreshold = setting.decimal('cluster.cpu.allocated.capacity.disablethreshold', 0.85, {
  ...share,
  about: 'Share of its CPU, between 0 and 1, up to which a host takes new machines.',
});
export const memoryDisableThreshold = setting.decimal('cluster.memory.allocated.capacity.disablethreshold', 0.85, {
  ...share,
  about: 'Share of its memory, between 0 and 1, up to which a host takes new machines.',
});
export const cpuNotificationThreshold = setting.decimal('cluster.cpu.allocated.capacity.notificationthreshold', 0.75, {
  ...share,
  about: 'Share of its CPU, between 0 and 1, from which on a cluster raises an alert.',
});
export const memoryNotificationThreshold = setting.decimal('cluster.memory.allocated.capacity.notificationthreshold', 0.75, {
  ...share,
  about: 'Share of its memory, between 0 and 1, from which on a cluster raises an alert.',
});

export const guestDomainSuffix = setting.string('guest.domain.suffix', 'cloud.internal', {
  match: /^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/,
  scopes: ['global', 'zone'],
  about: 'DNS suffix of guests in zones that have none of their own.',
});

export const pingInterval = setting.integer('ping.interval', 5, {
  min: 1,
  max: 300,
  about: 'Seconds between the heartbeats of an agent; counts from the next start of the management server.',
});
export const readyWait = setting.integer('ready.command.wait', 120, {
  min: 10,
  max: 300,
  about: 'Seconds within which the agent of a host that is being added must be Up.',
});
export const sshHostKeyCheck = setting.boolean('host.ssh.key.check', true, {
  scopes: ['global', 'zone'],
  about: 'Refuse to add a host whose ssh host key differs from the one this address had when it was a host before.',
});
export const maintenanceWait = setting.integer('host.maintenance.wait', 600, {
  min: 10,
  max: 86_400,
  about: 'Seconds within which system VMs must have left a host that is prepared for maintenance.',
});

export const infraSettings = [
  cpuOverprovisioning,
  memoryOverprovisioning,
  cpuDisableThreshold,
  memoryDisableThreshold,
  cpuNotificationThreshold,
  memoryNotificationThreshold,
  guestDomainSuffix,
  pingInterval,
  readyWait,
  sshHostKeyCheck,
  maintenanceWait,
];
