#!/bin/bash
# Gives the devices of the storage `local-lvm` their names below /dev/pve. A container has nodes for no loop device of its
# own, and /dev is empty after each start: the machine's kernel keeps the devices, their names are made again.
set -euo pipefail

for number in $(seq 0 255); do
    [ -e "/dev/loop$number" ] || mknod -m 0660 "/dev/loop$number" b 7 "$number"
done
mkdir -p /dev/pve
for volume in /var/lib/pve-standin-thin/vm-*; do
    [ -e "$volume" ] || continue
    device=$(losetup --associated "$volume" --noheadings --output NAME | head -n 1)
    ln -sfn "${device:-$(losetup --find --show "$volume")}" "/dev/pve/${volume##*/}"
done
