# Shared by the set-up scripts of every kind of host. Sourced, never run.
# Everything here is idempotent: a second run finds the same content and touches nothing.
# shellcheck shell=bash
set -euo pipefail
umask 022

# shellcheck source=/dev/null
. /etc/lab/host.env

LAB_STATE=/var/lib/lab
mkdir -p "$LAB_STATE"

say() { printf '%s: %s\n' "${LAB_HOST:-host}" "$*"; }

# put MODE OWNER FILE < content: write the file durably if it differs. Returns 0 when it changed, 1 when it was the same.
put() {
    local mode=$1 owner=$2 file=$3 new
    mkdir -p "$(dirname "$file")"
    # Beside the file, so that the rename is one step; the letters are where mktemp puts random ones.
    new=$(mktemp "$file.XXXXXX")
    cat >"$new"
    chmod "$mode" "$new"
    chown "$owner" "$new"
    if cmp -s "$new" "$file"; then
        rm -f "$new"
        chmod "$mode" "$file"
        chown "$owner" "$file"
        return 1
    fi
    mv "$new" "$file"
    say "wrote $file"
}

# once NAME: true the first time in the life of this host. For state that the migration itself changes later (a zone, a
# permit, a mode): set-up makes the beginning and never touches it again. Finish with `done_once NAME`.
once() { [ ! -e "$LAB_STATE/once.$1" ]; }
done_once() { sync "$LAB_STATE" && touch "$LAB_STATE/once.$1"; }

# unit NAME < content: install a systemd unit; the caller enables it.
unit() {
    if put 0644 root:root "/etc/systemd/system/$1"; then
        systemctl daemon-reload
    fi
}

secret() { cat "/etc/lab/secrets/$1"; }
