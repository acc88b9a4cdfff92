#!/bin/bash
# What every host of the lab has: a name, its SSH identity, and a default route that comes back at every start.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"

put 0644 root:root /etc/hosts <<HOSTS || true
127.0.0.1 localhost
::1 localhost ip6-localhost
${LAB_ADDRESS} ${LAB_HOST}.${LAB_DOMAIN} ${LAB_HOST}
HOSTS

if [ -d /etc/lab/ssh ]; then
    put 0600 root:root /etc/ssh/ssh_host_ed25519_key </etc/lab/ssh/ssh_host_ed25519_key || true
    put 0644 root:root /etc/ssh/ssh_host_ed25519_key.pub </etc/lab/ssh/ssh_host_ed25519_key.pub || true
    install -d -m 0700 /root/.ssh
    put 0600 root:root /root/.ssh/authorized_keys.lab </etc/lab/ssh/authorized_keys || true
    # Both files count, so a role may keep its own keys in authorized_keys.
    put 0644 root:root /etc/ssh/sshd_config.d/lab.conf <<'SSHD' || true
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys.lab
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxStartups 100:30:200
MaxSessions 100
SSHD
    systemctl enable --quiet ssh.service
    systemctl reload-or-restart ssh.service
fi

if [ -n "${LAB_ROUTES:-}" ]; then
    # "DESTINATION=GATEWAY ..."; the container engine sets no routes on internal networks.
    {
        cat <<'UNIT'
[Unit]
Description=Routes of this lab host
# Where there is a bridge it takes the address over, and the routes of the old interface go.
After=lab-vmbr0.service
Before=network-online.target ssh.service
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
UNIT
        for route in $LAB_ROUTES; do
            echo "ExecStart=/usr/sbin/ip route replace ${route%%=*} via ${route##*=}"
        done
        printf '\n[Install]\nWantedBy=multi-user.target\n'
    } | unit lab-routes.service
    systemctl enable --quiet --now lab-routes.service
fi
