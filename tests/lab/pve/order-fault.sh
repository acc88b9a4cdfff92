#!/bin/bash
# Orders a fault from this node's API, inside the node: order-fault.sh '{"fault": "storage_full"}'. Without an argument the
# orders that are still due are listed, `none` forgets them. The README says what can be ordered.
set -euo pipefail

node=$(hostname -s)
call() {
    read -r user secret < /etc/pve/priv/standin-root.cfg
    # The token goes by standard input, never as an argument.
    printf 'Authorization: PVEAPIToken=%s=%s\n' "$user" "$secret" |
        curl -sS --fail-with-body --cacert /etc/lab/tls/ca.crt --resolve "$node:8006:127.0.0.1" -H @- \
            -H 'Content-Type: application/json' "$@" "https://$node:8006/standin/faults"
    echo
}
case ${1-} in
    '') call ;;
    none) call -X DELETE ;;
    *) call --data "$1" ;;
esac
