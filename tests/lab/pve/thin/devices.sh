#!/bin/bash
# Gives the devices of the storage `local-lvm` their names below /dev/pve. A container has nodes for no loop device of its
# own, and /dev is empty after each start: the machine's kernel keeps the devices, their names are made again.
set -euo pipefail

"$(dirname "$0")/../loops.sh"
mkdir -p /dev/pve
for volume in /var/lib/pve-standin-thin/vm-*; do
    [ -e "$volume" ] || continue
    device=$(losetup --associated "$volume" --noheadings --output NAME | head -n 1)
    ln -sfn "${device:-$(losetup --find --show "$volume")}" "/dev/pve/${volume##*/}"
done
