#!/bin/sh
# Asks the router, which is the DHCP server, for what the cloud has for this machine: metadata, ssh key, password and user data.
. /usr/lib/tiny/say
router=$1
umask 077
mkdir -p /var/lib/tiny /root/.ssh
get() { wget -q -T 5 -O - "http://$router/latest/$1" 2>/dev/null; }

tries=0
until get meta-data/ >/run/tiny/listing; do
  tries=$((tries + 1))
  if [ "$tries" = 10 ]; then
    say no-metadata
    : >/run/tiny/configured
    exit 0
  fi
  sleep 1
done
instance=$(get meta-data/instance-id)

get meta-data/public-keys | grep -E '^(ssh-|ecdsa-|sk-)' >/run/tiny/keys
if [ -s /run/tiny/keys ]; then
  cp /run/tiny/keys /root/.ssh/authorized_keys
  say ssh-key
fi

ask_password() { wget -q -T 5 -O - --header "DomU_Request: $1" "http://$router:8080/" 2>/dev/null; }
password=$(ask_password send_my_password)
case $password in
  '' | saved_password | bad_request) ;;
  *)
    hash=$(printf '%s' "$password" | mkpasswd -m sha512 -P 0)
    # The hash has no character that sed would take for its own but the slash, hence the other separator.
    sed "s|^root:[^:]*:|root:$hash:|" /etc/shadow >/etc/shadow.new && mv /etc/shadow.new /etc/shadow
    sync
    ask_password saved_password >/dev/null
    say password
    ;;
esac
: >/run/tiny/configured
say metadata "$instance"

get user-data >/run/tiny/user-data
if [ "$(head -c 2 /run/tiny/user-data)" = '#!' ]; then
  # Once for each machine and each text, also after the machine was started again.
  mark=/var/lib/tiny/user-data.$(printf '%s' "$instance" | cat - /run/tiny/user-data | sha256sum | cut -c 1-32)
  if [ ! -e "$mark" ]; then
    : >"$mark"
    cp /run/tiny/user-data /var/lib/tiny/user-data
    chmod 700 /var/lib/tiny/user-data
    (umask 022 && cd /root && exec /var/lib/tiny/user-data) >/var/log/user-data.log 2>&1
    say user-data "$?"
  fi
fi
