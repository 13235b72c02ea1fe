# Tells over the serial port how far the guest is, with the seconds since its kernel started.
say() {
  read -r uptime idle </proc/uptime
  echo "NEPHOS-GUEST $1 $uptime${2:+ $2}" >/dev/ttyS0
}
