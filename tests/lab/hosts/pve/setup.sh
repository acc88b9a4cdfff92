#!/bin/bash
# A virtualisation node: its address on a bridge that guests join, and the stand-in of the Proxmox VE API on it.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"

install -d /usr/local/sbin
put 0755 root:root /usr/local/sbin/lab-bridge <<'BRIDGE' || true
#!/bin/sh
# Put the node's address on vmbr0 and make eth0 a port of it. Runs at every start: a container's interfaces are new then.
set -eu
[ -e /sys/class/net/vmbr0 ] && exit 0
address=$(ip -o -4 address show dev eth0 | awk '{print $4}')
mac=$(cat /sys/class/net/eth0/address)
ip link add vmbr0 address "$mac" type bridge forward_delay 0
ip link set eth0 master vmbr0
ip address flush dev eth0
ip address add "$address" dev vmbr0
ip link set vmbr0 up
BRIDGE
unit lab-bridge.service <<'UNIT'
[Unit]
Description=The bridge that guests join
DefaultDependencies=no
After=local-fs.target
Before=lab-routes.service network.target network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-bridge

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable --quiet --now lab-bridge.service
# The route went with the address.
systemctl restart lab-routes.service

if [ -x "$HERE/../../pve/setup-node.sh" ]; then
    "$HERE/../../pve/setup-node.sh"
else
    say "there is no pve/setup-node.sh: a node without an API"
fi
