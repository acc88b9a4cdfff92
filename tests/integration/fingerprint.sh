#!/bin/bash
# Prints what of this machine a phase could have changed: configuration and state that roles write, mounts, units, firewall.
# Left out is what clients and services write all the time: databases' own files, uploads, bind's journal, copies of the
# run's journal, notes of controllers at work, what the fence's probe has met and the file it is just writing it to (every
# few seconds, renamed once durable).
set -eu
find /etc /root/.ssh /usr/local /var/lib/bascule /var/lib/postgresql /etc/pve /var/lib/vz -xdev \
  \( -path '/var/lib/postgresql/15/main/*/*' -o -path /etc/mtab -o -path /etc/resolv.conf -o -name '*.jnl' -o -name '*.pid' -o -name 'fence-probe*' -o -name '.fence-probe*' \
     -o -path '/var/lib/bascule/journal' -o -path '/var/lib/bascule/controllers' -o -path '/var/lib/vz/images' \) -prune \
  -o -type f -printf '%p %s %m %u %T@\n' 2>/dev/null | grep -vE '/var/lib/postgresql/15/main/(postmaster|logfile)' | sort
findmnt -rno TARGET,OPTIONS | grep -E 'srv|bascule' | sort || true
systemctl list-units --state=active --no-legend --plain 'bascule-*' 'postgresql*' 'haproxy*' 'coursefiles*' | awk '{print $1}' | sort
nft list ruleset 2>/dev/null | sed -E 's/counter packets [0-9]+ bytes [0-9]+/counter/'
