#!/bin/bash
# Puts a container on this node and starts it. Run inside the node, after setup-node.sh, in a lab container that may use
# loop devices; a container that exists already is left alone.
#
#   seed-container.sh VMID NAME=VOLUME…  < CONFIG
#
# VOLUME is a raw ext4 file on this node, which becomes the container's (moved); NAME is `rootfs`, or `mp0,mp=/srv/data,backup=1`
# and the like. CONFIG has the lines of Proxmox's configuration file without the volumes.
set -euo pipefail

vmid=$1
shift
config=/etc/pve/lxc/$vmid.conf
images=/var/lib/vz/images/$vmid
lines=$(cat)
[ ! -e "$config" ] || exit 0
install -d -m 0755 "$images"
number=0
for volume in "$@"; do
    key=${volume%=*} file=${volume##*=} name=vm-$vmid-disk-$number.raw
    options=${key#"${key%%,*}"}
    lines+=$'\n'"${key%%,*}: local:$vmid/$name$options,size=$(($(stat -c %s "$file") / 1048576))M"
    mv "$file" "$images/$name"
    chmod 0640 "$images/$name"
    number=$((number + 1))
done
sort <<< "$lines" > "$config.new"
mv "$config.new" "$config"
read -r user secret < /etc/pve/priv/token.cfg
node=$(hostname -s)
# The token goes by standard input, never as an argument.
printf 'Authorization: PVEAPIToken=%s=%s\n' "$user" "$secret" |
    curl -sS --fail-with-body --cacert /etc/lab/tls/ca.crt --resolve "$node:8006:127.0.0.1" -H @- -X POST \
        "https://$node:8006/api2/json/nodes/$node/lxc/$vmid/status/start" > /dev/null
for _ in $(seq 100); do
    [ ! -e "/run/qemu-server/ct-$vmid.pid" ] || exit 0
    sleep 0.1
done
echo "seed-container: expected container $vmid to run within 10 s; see /var/log/pve/tasks and /var/log/pve-standin" >&2
exit 1
