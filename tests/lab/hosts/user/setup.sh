#!/bin/bash
# A user of the internet: trusts the lab's certificate authority, asks the resolver.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"

if put 0644 root:root /usr/local/share/ca-certificates/bascule-lab.crt </etc/lab/tls/ca.crt; then
    update-ca-certificates >/dev/null
fi
