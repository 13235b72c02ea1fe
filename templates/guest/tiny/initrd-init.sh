#!/bin/busybox sh
/bin/busybox mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev
for module in $(/bin/busybox cat /modules/order); do
  /bin/busybox insmod "/modules/$module"
done
until /bin/busybox mount -t ext4 -o noatime /dev/vda1 /root 2>/dev/null; do
  /bin/busybox usleep 100000
done
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
