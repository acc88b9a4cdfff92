#!/bin/bash
# Bridge vmbr0 with eth0's MAC, addresses and routes, eth0 enslaved, so that guests stand in the node's own network.
# Podman gives eth0 its address at every start of the container; the bridge takes it over again.
set -euo pipefail

if ! [ -e /sys/class/net/vmbr0 ]; then
    # A lone bridge forwards at once: no learning delay before a guest is heard.
    ip link add vmbr0 type bridge stp_state 0 forward_delay 0
    ip link set vmbr0 address "$(cat /sys/class/net/eth0/address)"
fi
addresses=$(ip -4 -o addr show dev eth0 scope global | awk '{print $4}')
routes=$(ip -4 route show dev eth0 | grep -v 'proto kernel' || true)
ip link set vmbr0 up
ip link set eth0 master vmbr0
ip addr flush dev eth0
for address in $addresses; do
    ip addr replace "$address" brd + dev vmbr0
done
while read -r route; do
    # shellcheck disable=SC2086  # a route is several words
    [ -z "$route" ] || ip route replace $route dev vmbr0
done <<< "$routes"
