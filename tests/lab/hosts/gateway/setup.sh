#!/bin/bash
# A site's gateway: router, firewall, WireGuard to the other site over the shaped link, HAProxy entrance.
# Interfaces are named by purpose: lan, link, inet. LAB_PEER_*: the other site. LAB_ENTRANCE_MODE: first mode of the entrance.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"

# --- the link ---------------------------------------------------------------------------------------------------------
if [ -n "${LAB_LINK_RATE:-}" ]; then
    # A longer queue before the shaper and a socket buffer on the host keep WireGuard from losing packets to itself.
    unit lab-link.service <<UNIT
[Unit]
Description=The link between the sites, shaped to what the provider sells
Before=network-online.target wg-quick@wg0.service
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip link set dev link txqueuelen 4000
ExecStart=/usr/sbin/tc qdisc replace dev link root tbf rate ${LAB_LINK_RATE} burst 256kb latency 50ms
ExecStop=/usr/sbin/tc qdisc del dev link root

[Install]
WantedBy=multi-user.target
UNIT
    systemctl enable --quiet --now lab-link.service
fi

# --- WireGuard --------------------------------------------------------------------------------------------------------
if [ -n "${LAB_PEER_ENDPOINT:-}" ]; then
    wg_changed=no
    put 0600 root:root /etc/wireguard/wg0.conf <<WG && wg_changed=yes
[Interface]
Address = ${LAB_TUNNEL_ADDRESS}
ListenPort = 51820
PrivateKey = $(secret wireguard.key)
PostUp = ip link set dev wg0 txqueuelen 4000

[Peer]
PublicKey = ${LAB_PEER_PUBLIC_KEY}
Endpoint = ${LAB_PEER_ENDPOINT}
AllowedIPs = ${LAB_PEER_NETWORKS}
PersistentKeepalive = 5
WG
    systemctl enable --quiet wg-quick@wg0.service
    if [ "$wg_changed" = yes ]; then
        systemctl restart wg-quick@wg0.service
    else
        systemctl start wg-quick@wg0.service
    fi
fi

# --- firewall ---------------------------------------------------------------------------------------------------------
if [ -n "${LAB_NAME_SERVER:-}" ]; then
    put 0644 root:root /etc/nftables.conf <<NFT && nft -f /etc/nftables.conf
#!/usr/sbin/nft -f
# Only this table is the site's own: others (a role's fence, say) are left alone on reload.
table inet site
delete table inet site
table inet site {
    chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
        ct state invalid drop
        meta l4proto icmp accept
        iifname "lan" tcp dport { 22, 443 } accept
        iifname "wg0" tcp dport 22 accept
        iifname "link" udp dport 51820 accept
        iifname "inet" tcp dport 443 accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct state invalid drop
        iifname "lan" oifname "wg0" accept
        iifname "wg0" oifname "lan" accept
        iifname "inet" oifname "lan" ip daddr ${LAB_NAME_SERVER} meta l4proto { tcp, udp } th dport 53 accept
    }
}
NFT
    systemctl enable --quiet --now nftables.service
fi

# --- entrance ---------------------------------------------------------------------------------------------------------
changed=no
umask 077
cat /etc/lab/tls/host.crt /etc/lab/tls/host.key | put 0600 root:root /etc/haproxy/tls/site.pem && changed=yes
umask 022
install -d -m 0755 /etc/haproxy/bascule
put 0600 root:root /etc/haproxy/bascule/smoke_token </etc/lab/secrets/smoke_token && changed=yes
put 0644 root:root /etc/haproxy/bascule/maintenance.html <"$HERE/maintenance.html" && changed=yes
if once entrance; then
    echo "mode ${LAB_ENTRANCE_MODE:-maintenance}" | put 0644 root:root /etc/haproxy/bascule/mode.map || true
    done_once entrance
fi
forward="# no other gateway"
if [ -n "${LAB_PEER_ENTRANCE:-}" ]; then
    forward="server other ${LAB_PEER_ENTRANCE}:443 ssl verify required ca-file /etc/lab/tls/ca.crt sni str(${LAB_SERVICE_NAME}) verifyhost ${LAB_SERVICE_NAME} ssl-min-ver TLSv1.3"
fi
put 0644 root:root /etc/haproxy/haproxy.cfg <<HAPROXY && changed=yes
global
    log stdout format raw local0 notice
    stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners
    user haproxy
    group haproxy
    maxconn 2000

defaults
    mode http
    log global
    option httplog
    option dontlognull
    option http-keep-alive
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout queue 25s
    timeout check 8s
    timeout http-request 10s
    timeout http-keep-alive 10s

frontend fe_entrance
    bind :443 ssl crt /etc/haproxy/tls/site.pem ssl-min-ver TLSv1.3 alpn http/1.1
    option forwardfor
    # One word in a map file decides: open, maintenance or forward; without it the entrance is closed.
    http-request set-var(txn.mode) str(mode),map(/etc/haproxy/bascule/mode.map,maintenance)
    acl is_smoke req.hdr(X-Bascule-Smoke) -m str -f /etc/haproxy/bascule/smoke_token
    acl was_forwarded req.hdr(X-Bascule-Forwarded) -m found
    http-request set-var(txn.smoke) bool(true) if is_smoke
    http-request del-header X-Bascule-Smoke
    use_backend be_courses if { var(txn.smoke) -m bool }
    use_backend be_courses if { var(txn.mode) -m str open }
    # Two entrances that forward to each other would turn a request in a circle.
    use_backend be_forward if { var(txn.mode) -m str forward } !was_forwarded
    default_backend be_maintenance

backend be_courses
    # Every user's connection is new; the one to the guest need not be.
    http-reuse always
    option httpchk
    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host ${LAB_SERVICE_NAME:-courses}
    http-check expect status 200
    # An emulated guest is slow when the machine is busy: let it work on a few requests at a time, the others wait here,
    # and do not take slow for dead.
    server courses ${LAB_COURSES:-192.0.2.100}:8000 maxconn 8 check inter 2s fastinter 1s fall 3 rise 1

backend be_forward
    http-request set-header X-Bascule-Forwarded 1
    $forward

backend be_maintenance
    http-request return status 503 content-type "text/html; charset=utf-8" file /etc/haproxy/bascule/maintenance.html hdr Retry-After 5 hdr Cache-Control no-store
HAPROXY
haproxy -c -q -f /etc/haproxy/haproxy.cfg
systemctl enable --quiet haproxy.service
if [ "$changed" = yes ]; then
    systemctl reload-or-restart haproxy.service
else
    systemctl start haproxy.service
fi
