#!/bin/sh
# Last step of the image: run by mmdebstrap with the new root as its argument.
# Nothing starts by itself but SSH: a host's set-up enables what that host is for.
set -eu
root=$1

for unit in postgresql mariadb named bind9 unbound unbound-resolvconf haproxy keepalived pgbouncer nftables e2scrub_reap systemd-pstore getty@ \
    apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer; do
    case $unit in *.*) ;; *) unit=$unit.service ;; esac
    find "$root/etc/systemd/system" -type l \( -name "$unit" -o -name "${unit%@.service}@*.service" \) -delete
done

# A host gets its SSH keys from the lab; until then there is nothing to start and nothing to fail.
mkdir -p "$root/etc/systemd/system/ssh.service.d"
printf '[Unit]\nConditionPathExistsGlob=/etc/ssh/ssh_host_*_key\n' >"$root/etc/systemd/system/ssh.service.d/keys.conf"

# Podman is told not to bring the machine's hosts file and resolver into a host of the lab.
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
# Every host has keys and an identity of its own.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/apt "$root"/var/log/*.log
