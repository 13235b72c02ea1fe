import { s } from './schema.ts';

export const systemVmKindNames = ['console-proxy', 'secondary-storage', 'router'] as const;
export type SystemVmKindName = (typeof systemVmKindNames)[number];
/** Who sits at the far end of a link. */
export const peerKindNames = ['host', ...systemVmKindNames] as const;
export type PeerKind = (typeof peerKindNames)[number];
export const PeerKindShape = s.oneOf(...peerKindNames);

/** Roles of a system VM's NIC; the order in a kind's definition is the order of eth0, eth1, … */
export const nicRoles = ['control', 'management', 'public', 'storage', 'guest'] as const;
export type NicRole = (typeof nicRoles)[number];

/** What `systemvm` needs to know of a kind, as data and one pure function. */
export interface SystemVmKind {
  readonly kind: SystemVmKindName;
  readonly scope: 'zone' | 'network';
  /** `storage` is left out where the zone has no storage network; management carries that traffic then. */
  readonly nics: readonly NicRole[];
  readonly memoryMib: number;
  readonly cpuCount: number;
  readonly cpuMhz: number;
  /** First letter of the instance name: v-12-VM. */
  readonly namePrefix: 'v' | 's' | 'r';
  /** How many of this kind the scope should have now. */
  readonly wanted: (load: { enabled: boolean; sessions: number; sessionsPerVm: number; standby: number }) => number;
  /** TCP ports it listens on, by NIC role; everything else is closed on the VM's own firewall. */
  readonly listens: Partial<Record<NicRole, readonly number[]>>;
}
export const systemVmKind = (kind: SystemVmKind): SystemVmKind => kind;
