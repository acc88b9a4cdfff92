#!/bin/bash
# Turns a lab container into a node with Proxmox's API (a stand-in). Run inside the container, as root; running it
# again changes nothing. Expects: this directory at /opt/bascule-lab/pve, the certificate in /etc/lab/tls/, the API
# token's bare secret in /etc/lab/pve_token.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
token_file=${1:-/etc/lab/pve_token}
user='bascule@pve!move'

install -d -m 0755 /etc/pve/qemu-server /var/lib/vz/images /var/lib/vz/dump
install -d -m 0700 /etc/pve/priv
umask 077
printf '%s %s\n' "$user" "$(tr -d '\n' < "$token_file")" > /etc/pve/priv/token.cfg
umask 022

write_unit() {
    # From standard input; systemd is told only when the text changed.
    local path=/etc/systemd/system/$1 fresh
    fresh=$(cat)
    if [ "$(cat "$path" 2>/dev/null)" != "$fresh" ]; then
        printf '%s\n' "$fresh" > "$path"
        changed=1
    fi
}

changed=0
write_unit lab-vmbr0.service <<UNIT
[Unit]
Description=Bridge vmbr0 with the address of eth0 (lab)
DefaultDependencies=no
After=local-fs.target
Before=network.target ssh.service pve-standin.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$here/bridge-up.sh

[Install]
WantedBy=multi-user.target
UNIT

write_unit pve-standin.service <<UNIT
[Unit]
Description=Stand-in for the Proxmox VE API (lab)
After=lab-vmbr0.service

[Service]
Environment=PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 -m pve_standin serve
Restart=on-failure
RestartSec=1
# Guests are processes of their own: a restart of the daemon finds them again.
KillMode=process

[Install]
WantedBy=multi-user.target
UNIT

write_unit pve-guests.service <<UNIT
[Unit]
Description=Start guests with onboot, shut guests down with the node (lab)
After=pve-standin.service lab-vmbr0.service

[Service]
Type=oneshot
RemainAfterExit=yes
Environment=PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 -m pve_standin start-all
ExecStop=/usr/bin/python3 -m pve_standin stop-all
# A guest started by this unit must outlive the command that started it.
KillMode=process
TimeoutStopSec=60

[Install]
WantedBy=multi-user.target
UNIT

[ "$changed" = 0 ] || systemctl daemon-reload
systemctl enable --now lab-vmbr0.service pve-standin.service pve-guests.service 2>&1 | grep -v '^Created symlink' || true

for _ in $(seq 100); do
    if (exec 3<> /dev/tcp/127.0.0.1/8006) 2>/dev/null; then
        exit 0
    fi
    sleep 0.1
done
echo "setup-node: expected the API on port 8006 within 10 s; see 'journalctl -u pve-standin'" >&2
exit 1
