import { systemVmKind } from '../protocol/kinds.ts';

export const definition = systemVmKind({
  kind: 'console-proxy',
  scope: 'zone',
  nics: ['control', 'management', 'public'],
  memoryMib: 256,
  cpuCount: 1,
  cpuMhz: 500,
  namePrefix: 'v',
  // The one added makes the next proxy boot when exactly the stand-by is left, not when it is already being used up.
  wanted: ({ enabled, sessions, sessionsPerVm, standby }) =>
    enabled ? Math.max(1, Math.ceil((sessions + standby + 1) / Math.max(1, sessionsPerVm))) : 0,
  // The management side serves browsers that come through a management server.
  listens: { public: [80, 443], management: [80, 443] },
});
