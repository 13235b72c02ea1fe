import { systemVmKind } from '../protocol/kinds.ts';

/** The virtual router: one per network that needs one. It has no leg on management; it dials through its host's relay. */
export const definition = systemVmKind({
  kind: 'router',
  scope: 'network',
  nics: ['guest', 'control', 'public'],
  memoryMib: 256,
  cpuCount: 1,
  cpuMhz: 500,
  namePrefix: 'r',
  wanted: ({ enabled }) => (enabled ? 1 : 0),
  /** DNS, metadata, passwords. DNS and DHCP over UDP are opened by `main.ts`. */
  listens: { guest: [53, 80, 8080] },
});
