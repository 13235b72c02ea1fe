import { systemVmKind } from '../protocol/kinds.ts';

export const definition = systemVmKind({
  kind: 'secondary-storage',
  scope: 'zone',
  nics: ['control', 'management', 'public', 'storage'],
  memoryMib: 512,
  cpuCount: 1,
  cpuMhz: 500,
  namePrefix: 's',
  // `sessions` are commands that run now.
  wanted: ({ enabled, sessions, sessionsPerVm, standby }) =>
    enabled ? Math.max(1, Math.ceil((sessions + standby) / Math.max(1, sessionsPerVm))) : 0,
  // Hosts fetch images here; where the zone has no storage network, over management.
  listens: { management: [8210], storage: [8210] },
});
