#!/bin/sh
# PID 1 of the tiny guest.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t tmpfs -o nosuid,nodev,mode=0755 run /run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmp /tmp
mkdir -p /dev/pts /run/tiny
mount -t devpts -o nosuid,noexec,gid=5,mode=0620,ptmxmode=0666 devpts /dev/pts
(: >/dev/ttyS0) 2>/dev/null && console=/dev/ttyS0 || console=/dev/null
exec </dev/null >$console 2>&1

. /usr/lib/tiny/say
say boot
hostname "$(cat /etc/hostname)"
ifconfig lo up
for module in $(cat /lib/modules/order); do
  insmod "/lib/modules/$module" 2>/dev/null
done

stop() {
  trap '' USR1 USR2 TERM INT
  say stopping
  kill -TERM -1
  usleep 300000
  kill -KILL -1
  sync
  umount -a -r 2>/dev/null
  mount -o remount,ro /
  say stopped
  "$1" -f
}
# These are the signals with which busybox' own poweroff, halt and reboot speak to PID 1.
trap 'stop poweroff' USR1 USR2
trap 'stop reboot' TERM INT
echo 0 >/proc/sys/kernel/ctrl-alt-del
busybox acpid -f -c /usr/lib/tiny/acpi -l /dev/null -p /run/acpid.pid &

again() {
  while :; do
    "$@"
    sleep 1
  done
}
again /usr/lib/tiny/screen &
[ "$console" = /dev/null ] || again getty -L 115200 ttyS0 vt100 &

[ -f /etc/dropbear/dropbear_ed25519_host_key ] ||
  dropbearkey -t ed25519 -f /etc/dropbear/dropbear_ed25519_host_key >/dev/null 2>&1
dropbear -r /etc/dropbear/dropbear_ed25519_host_key

[ -e /sys/class/net/eth0 ] || : >/run/tiny/configured
for link in /sys/class/net/eth*; do
  [ -e "$link" ] || continue
  nic=${link##*/}
  ifconfig "$nic" up
  udhcpc -b -S -i "$nic" -p "/run/udhcpc.$nic.pid" -s /usr/lib/tiny/dhcp -t 4 -T 1 -A 2 -O mtu -O staticroutes \
    -x "hostname:$(hostname)" >/dev/null 2>&1 &
done

# Ready is when the metadata server has been asked, or when nobody has given an address for a while.
tries=0
while [ ! -e /run/tiny/configured ] && [ "$tries" -lt 60 ]; do
  usleep 200000
  tries=$((tries + 1))
done
say ready

while :; do
  wait
  sleep 1
done
