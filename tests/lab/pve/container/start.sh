#!/bin/bash
# Starts a container, in namespaces of its own (mounts, processes, network, name, messages): mounts its volumes, waits for
# one line on standard input, which says that its cards are in its network, and becomes its init.
# Arguments: a folder to mount on, the host name, then NAME=FILE:PLACE for each volume, `rootfs` first.
set -euo pipefail

place=$1 name=$2
shift 2
mkdir -p "$place"
for volume in "$@"; do
    file=${volume#*=} at=${volume##*:}
    file=${file%:*}
    mkdir -p "$place$at"
    mount -t ext4 -o loop "$file" "$place$at"
done
mkdir -p "$place/proc" "$place/dev" "$place/sys" "$place/.standin-old"
mount -t proc proc "$place/proc"
mount -t tmpfs -o mode=0755,size=64k dev "$place/dev"
for device in null zero full random urandom; do
    : > "$place/dev/$device"
    mount --bind "/dev/$device" "$place/dev/$device"
done
hostname "$name"
ip link set lo up
read -r _
cd "$place"
pivot_root . .standin-old
exec chroot . /bin/sh -c 'umount -l /.standin-old && rmdir /.standin-old && exec /sbin/init' < /dev/null
