/** How the agent is kept running: a systemd unit, or on a host without systemd an init script and a small supervisor. */
import { CloudError } from '../../protocol/errors.ts';
import { places } from './places.ts';

export type ServiceKind = 'systemd' | 'init';
export interface HostFile {
  readonly path: string;
  readonly bytes: string | Uint8Array;
  readonly mode: number;
}

/** A path that may stand in a unit or a script as it is. */
function plainPath(path: string): string {
  if (!/^\/[A-Za-z0-9_./+-]+$/.test(path))
    throw new CloudError('InvalidParameter', 'the path of node has characters that a service file cannot carry', { path });
  return path;
}

const unit = (nodePath: string): string => `[Unit]
Description=Nephos host agent
Wants=network-online.target
After=network-online.target libvirtd.service virtqemud.service

[Service]
ExecStart=${plainPath(nodePath)} ${places.program} ${places.config}
Restart=always
RestartSec=2
TimeoutStopSec=15
KillMode=mixed
LimitNOFILE=65536
StandardOutput=append:${places.log}
StandardError=inherit

[Install]
WantedBy=multi-user.target
`;

const supervisor = (nodePath: string): string => `#!/bin/sh
# Keeps the Nephos host agent running where there is no systemd. Ends, with the agent, on TERM.
umask 022
cd /
exec </dev/null >>${places.log} 2>&1
echo $$ >${places.pid}
child=
ending=
trap 'ending=1; if [ -n "$child" ]; then kill -TERM "$child" 2>/dev/null; fi' TERM INT
trap '' HUP
delay=1
while [ -z "$ending" ]; do
  begun=$(date +%s)
  ${plainPath(nodePath)} ${places.program} ${places.config} &
  child=$!
  # The signal may have come before there was a child to pass it on to.
  if [ -n "$ending" ]; then kill -TERM "$child" 2>/dev/null; fi
  # A signal ends wait before the child has ended.
  while kill -0 "$child" 2>/dev/null; do wait "$child"; done
  child=
  if [ -n "$ending" ]; then break; fi
  if [ $(($(date +%s) - begun)) -gt 60 ]; then delay=1; fi
  sleep "$delay" &
  wait $!
  if [ "$delay" -lt 16 ]; then delay=$((delay * 2)); fi
done
rm -f ${places.pid}
`;

const initScript = (): string => `#!/bin/sh
### BEGIN INIT INFO
# Provides:          nephos-agent
# Required-Start:    $remote_fs $network
# Required-Stop:     $remote_fs $network
# Should-Start:      libvirtd virtlogd
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Nephos host agent
### END INIT INFO

# Prints the supervisor's process id if it runs; an id that now belongs to another process does not count.
running() {
  pid=$(cat ${places.pid} 2>/dev/null) || return 1
  case "$pid" in '' | *[!0-9]*) return 1 ;; esac
  tr '\\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q ' ${places.supervisor} ' || return 1
  echo "$pid"
}

case "$1" in
  start)
    running >/dev/null && exit 0
    rm -f ${places.pid}
    setsid -f /bin/sh ${places.supervisor} </dev/null >/dev/null 2>&1
    tries=0
    until running >/dev/null; do
      tries=$((tries + 1))
      [ "$tries" -gt 50 ] && exit 1
      sleep 0.1
    done
    ;;
  stop)
    pid=$(running) || exit 0
    kill -TERM "$pid"
    tries=0
    while running >/dev/null; do
      tries=$((tries + 1))
      if [ "$tries" -gt 150 ]; then
        # The supervisor leads its session; nothing but the agent and its tools is in it.
        kill -KILL "-$pid"
        rm -f ${places.pid}
        exit 0
      fi
      sleep 0.1
    done
    ;;
  restart | force-reload)
    "$0" stop && "$0" start
    ;;
  status)
    running >/dev/null || exit 3
    ;;
  *)
    echo "usage: $0 start|stop|restart|status" >&2
    exit 2
    ;;
esac
`;

export function serviceFiles(kind: ServiceKind, nodePath: string): HostFile[] {
  if (kind === 'systemd') return [{ path: places.systemdUnit, bytes: unit(nodePath), mode: 0o644 }];
  return [
    { path: places.supervisor, bytes: supervisor(nodePath), mode: 0o755 },
    { path: places.initScript, bytes: initScript(), mode: 0o755 },
  ];
}

export const serviceCommands = {
  systemd: {
    enable: [
      ['systemctl', 'daemon-reload'],
      ['systemctl', 'enable', 'nephos-agent.service'],
    ],
    start: [['systemctl', 'restart', 'nephos-agent.service']],
    stop: [['systemctl', 'stop', 'nephos-agent.service']],
    disable: [['systemctl', 'disable', 'nephos-agent.service']],
    status: ['systemctl', 'is-active', '--quiet', 'nephos-agent.service'],
  },
  init: {
    enable: [],
    start: [[places.initScript, 'restart']],
    stop: [[places.initScript, 'stop']],
    disable: [],
    status: [places.initScript, 'status'],
  },
} as const satisfies Record<
  ServiceKind,
  { status: readonly string[] } & Record<'enable' | 'start' | 'stop' | 'disable', readonly (readonly string[])[]>
>;
