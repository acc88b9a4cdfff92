#!/bin/bash
# Turns a lab container into a node with Proxmox's API (a stand-in). Run inside the container, as root; running it
# again changes nothing. Expects: this directory at /opt/bascule-lab/pve, the certificate in /etc/lab/tls/, the API
# token's bare secret in /etc/lab/pve_token. Where Proxmox's own schema is at hand it may stand in /etc/lab/pve-schemas;
# STANDIN_VERSION chooses the version that is played (8.4 or 9.1). With STANDIN_THIN=1 the node has the storage `local-lvm`
# too: loop devices, for which the container needs /dev/loop-control, MKNOD and the right to use block devices 7:*.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
token_file=${1:-/etc/lab/pve_token}
user='bascule@pve!move'
options="--version ${STANDIN_VERSION:-8.4} --schemas /etc/lab/pve-schemas"

install -d -m 0755 /etc/pve/qemu-server /etc/pve/lxc /var/lib/vz/images /var/lib/vz/dump
install -d -m 0700 /etc/pve/priv
umask 077
printf '%s %s\n' "$user" "$(tr -d '\n' < "$token_file")" > /etc/pve/priv/token.cfg
if ! [ -s /etc/pve/priv/standin-root.cfg ]; then
    echo "root@pam!lab $(cat /proc/sys/kernel/random/uuid)" > /etc/pve/priv/standin-root.cfg
fi
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

# The commands of a node that a move needs beside the API.
for tool in qm pct; do
    printf '#!/bin/sh\nPYTHONPATH=%s PYTHONDONTWRITEBYTECODE=1 exec python3 -m pve_standin %s "$@"\n' "$here" "$tool" \
        > "/usr/local/sbin/$tool"
    chmod 0755 "/usr/local/sbin/$tool"
done

changed=0
if [ "${STANDIN_THIN:-}" = 1 ]; then
    # Stands in for Proxmox's own library, by which whoever reads a volume activates it.
    install -D -m 0644 "$here/thin/Storage.pm" /usr/local/share/perl/PVE/Storage.pm
    site=$(perl -MConfig -e 'print $Config{sitelib}')
    install -d "$site" && ln -sfn /usr/local/share/perl/PVE "$site/PVE"
    write_unit standin-thin.service <<UNIT
[Unit]
Description=Names of the devices of the stand-in for LVM-thin (lab)
DefaultDependencies=no
After=local-fs.target
Before=pve-standin.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$here/thin/devices.sh

[Install]
WantedBy=multi-user.target
UNIT
    systemctl daemon-reload
    systemctl enable --quiet --now standin-thin.service
fi
code=$(cat "$here"/pve_standin/*.py | sha256sum | cut -c 1-16)
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
# Code $code: other code is another unit, and restarts the daemon.
[Unit]
Description=Stand-in for the Proxmox VE API (lab)
After=lab-vmbr0.service

[Service]
# Started means: the API answers.
Type=notify
Environment=PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
# Volumes of containers are mounted by them, where the lab's container may use them.
ExecStartPre=/bin/sh -c '[ ! -e /dev/loop-control ] || $here/loops.sh'
ExecStart=/usr/bin/python3 -m pve_standin serve $options
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

if [ "$changed" = 1 ]; then
    systemctl daemon-reload
    systemctl try-restart pve-standin.service
fi
systemctl enable --quiet --now lab-vmbr0.service pve-standin.service pve-guests.service
