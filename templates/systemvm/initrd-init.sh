#!/bin/busybox sh
# First program in the memory of a system VM: loads the drivers, mounts the root disk and hands over.
/bin/busybox mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev
for module in $(/bin/busybox cat /modules/order); do
  /bin/busybox insmod "/modules/$module"
done
# The disk may be probed a little after its driver was loaded, and other disks may come before it.
tries=0
until /bin/busybox mount -t ext4 -o noatime /dev/vda /root 2>/dev/null && [ -x /root/usr/lib/nephos/init ]; do
  /bin/busybox umount /root 2>/dev/null
  device=$(/bin/busybox findfs LABEL=nephos-sysvm 2>/dev/null) &&
    /bin/busybox mount -t ext4 -o noatime "$device" /root && break
  tries=$((tries + 1))
  [ "$tries" = 100 ] && echo 'NEPHOS-STAGE no-root-disk' >/dev/ttyS0
  /bin/busybox usleep 100000
done
/bin/busybox mount --move /dev /root/dev
# The kernel makes an environment of the words it does not know; the join token is among them and must not reach every program.
exec /bin/busybox env -i /bin/busybox switch_root /root /usr/lib/nephos/init
