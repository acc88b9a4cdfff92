#!/bin/bash
# A file server: an ext4 of its own at /srv/courses, served over HTTP by coursefiles, reached by SSH and rsync.
# LAB_FILES_DEVICE: block device to mount (empty: /srv/courses is mounted already, or is a plain directory).
# LAB_FILES_MOUNT, LAB_FILES_TYPE, LAB_FILES_OPTIONS: where and how (/srv/courses, ext4, defaults); /srv/courses may lie in it.
# LAB_FILES_STATE=seeded: fill the tree; empty: a fresh server, an empty file system.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"

# The same numbers at both sites, as an owner is a number to a file system.
getent group courses >/dev/null || groupadd --gid 2000 courses
getent passwd courses >/dev/null || useradd --uid 2000 --gid 2000 --no-create-home --home-dir /srv/courses \
    --shell /usr/sbin/nologin courses

mounted=${LAB_FILES_MOUNT:-/srv/courses}
install -d -m 0755 "$mounted"
if [ -n "${LAB_FILES_DEVICE:-}" ]; then
    # A unit and not fstab: systemd leaves fstab's devices alone inside containers.
    name=$(systemd-escape --path --suffix=mount "$mounted")
    unit "$name" <<UNIT
[Unit]
Description=Course files
Before=local-fs.target

[Mount]
What=${LAB_FILES_DEVICE}
Where=${mounted}
Type=${LAB_FILES_TYPE:-ext4}
Options=${LAB_FILES_OPTIONS:-defaults}

[Install]
RequiredBy=local-fs.target
UNIT
    systemctl enable --quiet "$name"
    mountpoint -q "$mounted" || systemctl start "$name"
fi
install -d -m 0755 /srv/courses

if [ "${LAB_FILES_STATE:-seeded}" = seeded ] && once tree; then
    python3 "$HERE/../../seed/tree.py" --root /srv/courses --seed "${LAB_SEED:-1}" --scale "${LAB_SCALE:-1}"
    sync -f /srv/courses
    done_once tree
fi

install -d -m 0755 /usr/local/lib/coursefiles
changed=no
put 0755 root:root /usr/local/lib/coursefiles/coursefiles.py <"$HERE/coursefiles.py" && changed=yes
unit coursefiles.service <<'UNIT'
[Unit]
Description=Course files over HTTP
After=local-fs.target network-online.target
RequiresMountsFor=/srv/courses

[Service]
User=courses
Group=courses
UMask=0027
ExecStart=/usr/bin/python3 /usr/local/lib/coursefiles/coursefiles.py --root /srv/courses --port 8080
Restart=always
RestartSec=1
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
UNIT
if once coursefiles; then
    systemctl enable --quiet --now coursefiles.service
    done_once coursefiles
elif [ "$changed" = yes ]; then
    systemctl try-restart coursefiles.service
fi
