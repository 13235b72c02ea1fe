/** Where a system VM finds what it works on. Tests give other folders; everything else is the same there. */
export interface Machine {
  readonly commandLineFile: string;
  /** Boot stages are printed here, beside the log. */
  readonly consoleFile: string;
  /** Kernel settings. */
  readonly sysctlFolder: string;
  readonly netFolder: string;
  readonly resolvConfFile: string;
  readonly hostsFile: string;
  readonly osReleaseFile: string;
  /** Its first line is the version of the payload. */
  readonly versionFile: string;
  /** Configuration and state of daemons; empty after every boot. */
  readonly runFolder: string;
  /** Where sshd insists on an empty folder; made when it is not there. */
  readonly sshdPrivilegeFolder: string;
  readonly authorizedKeysFile: string;
  readonly setHostName: boolean;
  /** How long a failed boot stage can be looked at before the process ends and is started again. */
  readonly failurePauseSeconds: number;
}

export const systemVmMachine: Machine = {
  commandLineFile: '/proc/cmdline',
  consoleFile: '/dev/console',
  sysctlFolder: '/proc/sys',
  netFolder: '/sys/class/net',
  resolvConfFile: '/etc/resolv.conf',
  hostsFile: '/etc/hosts',
  osReleaseFile: '/etc/os-release',
  versionFile: '/run/payload/VERSION',
  runFolder: '/run/nephos',
  sshdPrivilegeFolder: '/run/sshd',
  authorizedKeysFile: '/run/nephos/ssh/authorized_keys',
  setHostName: true,
  failurePauseSeconds: 15,
};
