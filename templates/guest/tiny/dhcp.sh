#!/bin/sh
# Called by udhcpc with what the DHCP server has said.
. /usr/lib/tiny/say
case $1 in
  deconfig)
    ifconfig "$interface" 0.0.0.0
    ;;
  bound | renew)
    [ -n "$mtu" ] && ifconfig "$interface" mtu "$mtu"
    ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
    if [ -n "$staticroutes" ]; then
      set -- $staticroutes
      while [ -n "$2" ]; do
        ip route replace "$1" via "$2" dev "$interface"
        shift 2
      done
    fi
    # Only the first NIC leads to everywhere; the others reach their own networks.
    if [ "$interface" = eth0 ]; then
      for gateway in $router; do
        ip route replace default via "$gateway" dev eth0
        break
      done
      : >/run/tiny/resolv.conf
      [ -n "$domain" ] && echo "search $domain" >>/run/tiny/resolv.conf
      for server in $dns; do
        echo "nameserver $server" >>/run/tiny/resolv.conf
      done
      cp /run/tiny/resolv.conf /etc/resolv.conf
      if [ -n "$hostname" ] && [ "$hostname" != "$(cat /etc/hostname)" ]; then
        hostname "$hostname"
        echo "$hostname" >/etc/hostname
        printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n' "$hostname" >/etc/hosts
      fi
    fi
    say "lease-$interface" "$ip"
    if [ "$interface" = eth0 ] && [ ! -e /run/tiny/asked ]; then
      : >/run/tiny/asked
      setsid /usr/lib/tiny/metadata "$serverid" </dev/null >/dev/ttyS0 2>&1 &
    fi
    ;;
esac
