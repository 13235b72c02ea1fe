#!/bin/sh
# The screen, which is what the console of the cloud shows: a root shell, as the console is for the machine's owner only.
exec </dev/tty1 >/dev/tty1 2>&1
printf '\033[2J\033[Hnephos-tiny login ready\n\n'
cd /root && exec setsid -c sh -l
