#!/bin/bash
# A virtualisation node: the stand-in of the Proxmox VE API, a bridge that guests join, and the first guest on the node
# that is live when the lab is new.
# LAB_PVE_GUEST: number of the guest to put here once (empty: none); LAB_GUEST_*: its address, its way out, its disk.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"
NODE="$HERE/../../pve"

"$NODE/setup-node.sh" /etc/lab/secrets/pve_token

if [ -n "${LAB_PVE_GUEST:-}" ] && once guest; then
    disk=/var/lib/vz/guest-$LAB_PVE_GUEST.raw
    [ -e "/etc/pve/qemu-server/$LAB_PVE_GUEST.conf" ] || cp --sparse=always "$LAB_GUEST_DISK" "$disk"
    "$NODE/seed-guest.sh" "$LAB_PVE_GUEST" "$disk" <<CONFIG
agent: 1
cores: 1
ipconfig0: ip=$LAB_GUEST_ADDRESS/24,gw=$LAB_GUEST_GATEWAY
memory: 320
name: courses
nameserver: $LAB_GUEST_NAME_SERVER
net0: virtio=BC:24:11:0A:00:64,bridge=vmbr0
onboot: 1
ostype: l26
searchdomain: $LAB_DOMAIN
CONFIG
    say "started guest $LAB_PVE_GUEST"
    if ! curl --silent --fail --output /dev/null --retry 120 --retry-delay 1 --retry-all-errors --max-time 5 \
        --retry-max-time 120 "http://$LAB_GUEST_ADDRESS:8000/healthz"; then
        say "guest $LAB_PVE_GUEST runs, but http://$LAB_GUEST_ADDRESS:8000/healthz did not answer in two minutes" >&2
        exit 1
    fi
    done_once guest
fi
