#!/bin/bash
# Puts a guest on this node and starts it. Run inside the node, after setup-node.sh; a guest that exists already is left
# alone (only started if it is not running).
#
#   seed-guest.sh VMID DISK [STORAGE]  < CONFIG
#
# DISK is a raw disk on this node, which becomes the guest's (moved) on the storage, `local` or `local-lvm`. CONFIG has the lines of Proxmox's configuration
# file, without the drives: they are added here.
set -euo pipefail

vmid=$1 disk=$2 storage=${3:-local}
here=$(cd "$(dirname "$0")" && pwd)
config=/etc/pve/qemu-server/$vmid.conf
images=/var/lib/vz/images/$vmid
node=$(hostname -s)

lines=$(cat)
if ! [ -e "$config" ]; then
    size=$(($(stat -c %s "$disk") / 1048576))M
    drive=local:$vmid/vm-$vmid-disk-0.raw cdrom=local:$vmid/vm-$vmid-cloudinit.raw
    if [ "$storage" = local ]; then
        install -d -m 0755 "$images"
        mv "$disk" "$images/vm-$vmid-disk-0.raw"
        chmod 0640 "$images/vm-$vmid-disk-0.raw"
    else
        { read -r drive; read -r cdrom; } < <(PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 python3 - "$vmid" "$disk" "$storage" <<'MAKE'
import pathlib, sys
from pve_standin.paths import Paths
from pve_standin.volumes import Volumes, size_of
vmid, disk, storage = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
volumes = Volumes(Paths())
made = volumes.allocate(vmid, size_of(disk), storage)
with disk.open("rb") as given, volumes.path(made).open("r+b") as taken:
    while block := given.read(1 << 20):
        if block.count(0) == len(block):
            taken.seek(len(block), 1)
        else:
            taken.write(block)
print(made, volumes.cloudinit(vmid, storage), sep="\n")
MAKE
        )
        rm "$disk"
    fi
    [ "$((${size%M} % 1024))" != 0 ] || size=$((${size%M} / 1024))G
    {
        printf '%s\n' "$lines"
        echo "boot: order=scsi0"
        echo "ide2: $cdrom,media=cdrom"
        echo "scsi0: $drive,size=$size"
        echo "scsihw: virtio-scsi-pci"
        echo "smbios1: uuid=$(cat /proc/sys/kernel/random/uuid)"
        echo "vmgenid: $(cat /proc/sys/kernel/random/uuid)"
    } | sort > "$config.new"
    mv "$config.new" "$config"
fi

call() {
    read -r user secret < /etc/pve/priv/token.cfg
    # The token goes by standard input, never as an argument.
    printf 'Authorization: PVEAPIToken=%s=%s\n' "$user" "$secret" |
        curl -sS --fail-with-body --retry 5 --retry-connrefused --retry-delay 1 --cacert /etc/lab/tls/ca.crt --resolve "$node:8006:127.0.0.1" -H @- \
            -X "$1" "https://$node:8006/api2/json/nodes/$node/qemu/$vmid/status/$2"
}
if ! call GET current | grep -q '"status":"running"'; then
    call POST start > /dev/null
    for _ in $(seq 100); do
        if call GET current | grep -q '"status":"running"'; then
            exit 0
        fi
        sleep 0.1
    done
    echo "seed-guest: expected guest $vmid to run within 10 s; see /var/log/pve/tasks" >&2
    exit 1
fi
