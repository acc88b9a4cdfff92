#!/bin/bash
# A virtualisation node: the stand-in of the Proxmox VE API, a bridge that guests join, and the first guests on the node
# that is live when the lab is new.
# LAB_PVE_GUESTS: the guests to put here once, as name=number (the number is the last byte of the address, too);
# LAB_GUEST_*: their network, their way out, where their disks are.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"
NODE="$HERE/../../pve"

"$NODE/setup-node.sh" /etc/lab/secrets/pve_token

# `courses` is the application; the other guests are as small as one can be.
put_guest() { # NAME NUMBER
    local source=small.raw memory=128
    [ "$1" != courses ] || { source=disk.raw; memory=320; }
    local disk=/var/lib/vz/guest-$2.raw
    [ -e "/etc/pve/qemu-server/$2.conf" ] || cp --sparse=always "$LAB_GUEST_DISKS/$source" "$disk"
    "$NODE/seed-guest.sh" "$2" "$disk" <<CONFIG
agent: 1
cores: 1
ipconfig0: ip=$LAB_GUEST_PREFIX.$2/24,gw=$LAB_GUEST_GATEWAY
memory: $memory
name: $1
nameserver: $LAB_GUEST_NAME_SERVER
net0: virtio=BC:24:11:0A:00:$(printf '%02X' "$2"),bridge=vmbr0
onboot: 1
ostype: l26
searchdomain: $LAB_DOMAIN
serial0: socket
CONFIG
    say "started guest $2 ($1)"
}

await_guest() { # NAME NUMBER
    local path=cgi-bin/healthz
    [ "$1" != courses ] || path=healthz
    if ! curl --silent --fail --output /dev/null --retry 240 --retry-delay 1 --retry-all-errors --max-time 5 \
        --retry-max-time 240 "http://$LAB_GUEST_PREFIX.$2:8000/$path"; then
        say "guest $2 ($1) runs, but http://$LAB_GUEST_PREFIX.$2:8000/$path did not answer in four minutes" >&2
        exit 1
    fi
}

if [ -n "${LAB_PVE_GUESTS:-}" ] && once guest; then
    for guest in $LAB_PVE_GUESTS; do
        put_guest "${guest%=*}" "${guest#*=}"
    done
    for guest in $LAB_PVE_GUESTS; do
        await_guest "${guest%=*}" "${guest#*=}"
    done
    done_once guest
fi
