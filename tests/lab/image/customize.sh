#!/bin/sh
# Last step of the image: run by mmdebstrap with the new root as its argument.
# Nothing starts by itself but SSH: a host's set-up enables what that host is for.
set -eu
root=$1

for unit in postgresql named bind9 unbound unbound-resolvconf haproxy pgbouncer nftables e2scrub_reap getty@ \
    apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer systemd-pstore; do
    case $unit in *.*) ;; *) unit=$unit.service ;; esac
    if chroot "$root" systemctl cat "$unit" >/dev/null 2>&1; then
        chroot "$root" systemctl disable --quiet "$unit" 2>/dev/null || echo "$unit stays as it is" >&2
    fi
done

# Podman is told not to bring the machine's hosts file and resolver into a host of the lab.
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
# Every host has keys and an identity of its own.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/apt "$root"/var/log/*.log
