#!/bin/bash
# Install the Debian packages this machine needs for the lab (Debian 12 and 13, as root). Quick when all are present.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

packages=(
    aardvark-dns b3sum ca-certificates debian-archive-keyring e2fsprogs git iproute2 iptables make mmdebstrap netavark nftables
    openssh-client openssl podman procps python3 python3-venv rsync runc zstd
)
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
