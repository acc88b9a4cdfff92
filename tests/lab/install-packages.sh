#!/bin/bash
# Install the Debian packages this machine needs for lab and tests (Debian 12 and 13, as root). Quick when all are present.
set -euo pipefail
# A test gives another root.
root=${BASCULE_ROOT:-}
here=$(cd "$(dirname "$0")" && pwd)

packages=(
    aardvark-dns b3sum ca-certificates debian-archive-keyring e2fsprogs git iproute2 iptables make mmdebstrap netavark nftables
    openssh-client openssl podman procps python3 python3-venv rsync runc zstd
)
# What unit tests start for themselves: name servers, a web server, an SSH server, sudo, QEMU's tools, loop devices and
# the file systems on them, PostgreSQL and its pooler.
packages+=(bind9 knot mount nginx openssh-server pdns-backend-sqlite3 pdns-server pgbouncer postgresql qemu-utils sudo)
packages+=(acl btrfs-progs mariadb-server xfsprogs)
# The tests' MongoDB server needs curl's library.
packages+=(curl)
# What WeasyPrint prints reports with.
packages+=(fonts-dejavu-core libharfbuzz-subset0 libpango-1.0-0 libpangoft2-1.0-0)
# Debian starts these when they are installed, and at each boot. Who has one already has it for a reason: it is left alone.
declare -A units=([bind9]=named [knot]=knot [nginx]=nginx [openssh-server]=ssh [pdns-server]=pdns)
units+=([mariadb-server]=mariadb [pgbouncer]=pgbouncer [postgresql]=postgresql)
# What building the guest's disk takes.
mapfile -t -O "${#packages[@]}" packages < <(grep -v '^#' "$here/pve/host-packages.txt")

missing=()
for package in "${packages[@]}"; do
    [ -n "$package" ] || continue
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "These packages are missing and installing them needs root: ${missing[*]}" >&2
    echo "Next: run the same command as root." >&2
    exit 1
fi
echo "Installing ${#missing[@]} packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive

# Two at once would take each other's policy for the user's.
mkdir -p "$root/run/lock"
exec 9>"$root/run/lock/bascule-packages.lock"
flock 9

# While packages are installed, invoke-rc.d and deb-systemd-invoke ask this and start nothing (101: forbidden).
policy=$root/usr/sbin/policy-rc.d
kept=$policy.before-bascule
mark="# bascule: nothing is started while packages for the lab are installed"
# Also after a run that was killed: what bears the mark is nobody else's.
give_back() {
    if grep -qsF "$mark" "$policy"; then
        rm -f "$policy"
    fi
    if [ -e "$kept" ] || [ -L "$kept" ]; then
        mv "$kept" "$policy"
    fi
}
give_back

has_unit() {
    [ -e "$root/etc/systemd/system/$1" ] || [ -e "$root/usr/lib/systemd/system/$1" ] || [ -e "$root/lib/systemd/system/$1" ]
}
# What a machine has under such a name already, from wherever, stays as it is.
new_units=()
if command -v systemctl >/dev/null; then
    for package in "${missing[@]}"; do
        unit=${units[$package]:-}
        [ -z "$unit" ] || has_unit "$unit.service" || new_units+=("$unit.service")
    done
fi
# A unit that is disabled is started neither at a boot nor by an upgrade. Also when the installation has failed half way.
finish() {
    give_back
    for unit in "${new_units[@]}"; do
        if has_unit "$unit"; then
            systemctl disable --quiet "$unit" || echo "Disable $unit yourself: it was installed for the tests" >&2
        fi
    done
}
trap finish EXIT
if [ -e "$policy" ] || [ -L "$policy" ]; then
    mv "$policy" "$kept"
fi
printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
chmod 0755 "$policy"

if ! apt-get install -y -q --no-install-recommends "${missing[@]}" >/tmp/bascule-packages.log 2>&1; then
    # The lists may be old or absent.
    apt-get update -q >/tmp/bascule-packages.log 2>&1
    apt-get install -y -q --no-install-recommends "${missing[@]}" >>/tmp/bascule-packages.log 2>&1 || {
        tail -n 30 /tmp/bascule-packages.log >&2
        echo "apt-get install failed: the whole output is in /tmp/bascule-packages.log" >&2
        exit 1
    }
fi
rm -f /tmp/bascule-packages.log
