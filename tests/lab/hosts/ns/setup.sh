#!/bin/bash
# An authoritative name server: bind9, primary for the zone, changed by TSIG-signed updates only.
# LAB_ZONE, LAB_SERVICE (name in the zone), LAB_SERVICE_ADDRESS (its first address) and LAB_TTL (its time to live);
# /etc/lab/zone.records: more records.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"

ZONE=${LAB_ZONE:-techcorp.test}
changed=no

put 0640 root:bind /etc/bind/bascule.key </etc/lab/secrets/tsig.key && changed=yes
put 0644 root:bind /etc/bind/named.conf.options <<'OPTIONS' && changed=yes
options {
    directory "/var/cache/bind";
    listen-on { any; };
    listen-on-v6 { none; };
    allow-query { any; };
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    notify no;
};
OPTIONS
put 0644 root:bind /etc/bind/named.conf <<NAMED && changed=yes
include "/etc/bind/bascule.key";
include "/etc/bind/named.conf.options";
zone "$ZONE" {
    type primary;
    file "/var/lib/bind/$ZONE.zone";
    update-policy { grant bascule zonesub ANY; };
    allow-transfer { key bascule; };
};
NAMED

if once zone; then
    {
        cat <<ZONEFILE
\$TTL 300
@ IN SOA ns.${LAB_SITE}.$ZONE. hostmaster.$ZONE. ( 1 3600 600 604800 5 )
@ IN NS ns.mtp.$ZONE.
@ IN NS ns.tls.$ZONE.
${LAB_SERVICE:-courses} ${LAB_TTL:-300} IN A ${LAB_SERVICE_ADDRESS:-192.0.2.1}
ZONEFILE
        if [ -e /etc/lab/zone.records ]; then
            cat /etc/lab/zone.records
        else
            echo "ns.mtp IN A 192.0.2.53"
            echo "ns.tls IN A 192.0.2.54"
        fi
    } | put 0644 bind:bind "/var/lib/bind/$ZONE.zone" || true
    done_once zone
    changed=yes
fi

systemctl enable --quiet named.service
if [ "$changed" = yes ]; then
    systemctl restart named.service
else
    systemctl start named.service
fi
