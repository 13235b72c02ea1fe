#!/usr/bin/busybox sh
# PID 1 of every system VM: finds the payload, runs the role's program and keeps it running, stops cleanly.
# It decides nothing else: networks, keys and services are the role's own work.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

# The static programs start several times faster on an emulated CPU than their counterparts with shared libraries.
b() { /usr/bin/busybox "$@"; }

b mount -t proc -o nosuid,nodev,noexec proc /proc
b mount -t sysfs -o nosuid,nodev,noexec sys /sys
b mount -t tmpfs -o nosuid,nodev,mode=0755 run /run
b mount -t tmpfs -o nosuid,nodev,mode=1777 tmp /tmp
b mkdir -p /dev/pts /dev/shm /run/lock /run/sshd /run/payload
b mount -t devpts -o nosuid,noexec,gid=5,mode=0620,ptmxmode=0666 devpts /dev/pts
b mount -t tmpfs -o nosuid,nodev,mode=1777 shm /dev/shm
b ln -sf /proc/self/fd /dev/fd

# A machine without a serial port still has to run.
(: >/dev/ttyS0) 2>/dev/null && console=/dev/ttyS0 || console=/dev/null
exec </dev/null >$console 2>&1

stage() {
  read -r uptime idle </proc/uptime
  echo "NEPHOS-STAGE $1 $uptime${2:+ $2}"
}
stage boot

program=
stop() {
  trap '' USR1 USR2 TERM INT
  stage stopping
  [ -n "$program" ] && kill -TERM "$program" 2>/dev/null
  waited=0
  while [ -n "$program" ] && kill -0 "$program" 2>/dev/null && [ "$waited" -lt 30 ]; do
    b usleep 100000
    waited=$((waited + 1))
  done
  kill -TERM -1
  b usleep 300000
  kill -KILL -1
  # A file server that is gone must not keep the machine from stopping.
  (b umount -a -f -t nfs,nfs4 2>/dev/null; b sync) &
  last=$!
  waited=0
  while kill -0 "$last" 2>/dev/null && [ "$waited" -lt 30 ]; do
    b usleep 100000
    waited=$((waited + 1))
  done
  b mount -o remount,ro /
  stage stopped
  b "$1" -f
}
# These are the signals with which busybox' own poweroff, halt and reboot speak to PID 1.
trap 'stop poweroff' USR1 USR2
trap 'stop reboot' TERM INT
echo 0 >/proc/sys/kernel/ctrl-alt-del
/usr/bin/busybox acpid -f -c /usr/lib/nephos/acpi -l /dev/null -p /run/acpid.pid &

# Node is one large file; reading it in large pieces is a third of a second faster on an emulated CPU.
for disk in vda vdb; do echo 4096 >/sys/block/$disk/queue/read_ahead_kb; done

b ifconfig lo up

mount_payload() {
  b mount -t iso9660 -o ro,nosuid,nodev /dev/vdb /run/payload 2>/dev/null && [ -f /run/payload/VERSION ] && return 0
  b umount /run/payload 2>/dev/null
  device=$(b findfs LABEL=NEPHOS_SYSVM 2>/dev/null) && b mount -t iso9660 -o ro,nosuid,nodev "$device" /run/payload
}
tries=0
until mount_payload; do
  tries=$((tries + 1))
  [ "$tries" = 1 ] && stage payload-missing
  b sleep 1
done
stage payload

type=
for word in $(b cat /proc/cmdline); do
  case $word in
    type=* | nephos.type=*) type=${word#*=} ;;
  esac
done
case $type in
  console-proxy | consoleproxy) role=console-proxy ;;
  secondary-storage | secstorage) role=secondary-storage ;;
  router) role=router ;;
  *) role= ;;
esac

if [ -z "$role" ]; then
  stage unknown-type
  while :; do wait; b sleep 3600 & done
fi

starts=0
while :; do
  starts=$((starts + 1))
  stage role "$role"
  /usr/lib/nephos/role "$role" "$starts" &
  program=$!
  # A trapped signal ends the wait early; the program may still run then.
  while kill -0 "$program" 2>/dev/null; do
    wait "$program"
    code=$?
  done
  program=
  stage role-exited "$code"
  b sleep 1
done
