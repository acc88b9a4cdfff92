#!/bin/bash
# The resolver of the internet: unbound, caching, asking both name servers of the zone.
# LAB_STUB: addresses of the authoritative servers (blank-separated).
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"

ZONE=${LAB_ZONE:-techcorp.test}
changed=no
{
    cat <<'UNBOUND'
server:
    interface: 0.0.0.0
    access-control: 0.0.0.0/0 allow
    do-ip6: no
    # The zone is the lab's own: no trust anchor, no root servers, and .test is not answered here.
    module-config: "iterator"
    local-zone: "test." nodefault
    # A name server that did not answer is asked again soon.
    infra-host-ttl: 10
    infra-keep-probing: yes
    infra-cache-max-rtt: 1000
    hide-version: yes
remote-control:
    control-enable: yes
    control-interface: /run/unbound.ctl
    control-use-cert: no
stub-zone:
UNBOUND
    echo "    name: \"$ZONE.\""
    for address in ${LAB_STUB:-}; do
        echo "    stub-addr: $address"
    done
} | put 0644 root:root /etc/unbound/unbound.conf && changed=yes

systemctl enable --quiet unbound.service
if [ "$changed" = yes ]; then
    systemctl restart unbound.service
else
    systemctl start unbound.service
fi
