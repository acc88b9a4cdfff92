"""What of the lab's machines a phase could have changed, so that «touches nothing» can be shown."""

from __future__ import annotations

import subprocess

MACHINES = [f"{kind}-{site}" for site in ("mtp", "tls") for kind in ("gw", "db", "files", "ns", "pve")]

# Configuration and state that roles write. Data that the lab's clients write all the time is left out: the databases' own files, uploads, bind's journal.
_SCRIPT = r"""
set -eu
find /etc /root/.ssh /usr/local /var/lib/bascule /var/lib/postgresql -xdev \
  \( -path '/var/lib/postgresql/15/main/*/*' -o -path /etc/mtab -o -path /etc/resolv.conf -o -name '*.jnl' -o -name '*.pid' \) -prune -o \
  -type f -printf '%p %s %m %u %T@\n' 2>/dev/null | grep -vE '/var/lib/postgresql/15/main/(postmaster|logfile)|/var/lib/bascule/journal/' | sort
findmnt -rno TARGET,OPTIONS | grep -E 'srv|bascule' | sort || true
systemctl list-units --state=active --no-legend --plain 'bascule-*' 'postgresql*' 'haproxy*' 'coursefiles*' | awk '{print $1}' | sort
nft list ruleset 2>/dev/null | grep -vE 'counter packets'
"""


def machine(name: str) -> list[str]:
    """Lines that describe one machine's configuration, mounts, units and firewall."""
    done = subprocess.run(
        ["podman", "exec", f"bascule-{name}", "bash", "-c", _SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()


def zone() -> list[str]:
    """The records of the lab's zone at both name servers."""
    lines: list[str] = []
    for address in ("198.18.1.53", "198.18.2.53"):
        done = subprocess.run(
            ["podman", "exec", "bascule-resolver", "dig", "+noall", "+answer", f"@{address}", "courses.techcorp.test", "A"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        lines += [f"{address} {line}" for line in done.stdout.splitlines()]
    return lines


def lab() -> dict[str, list[str]]:
    """The fingerprint of every machine, by name, and of the zone."""
    return {**{name: machine(name) for name in MACHINES}, "zone": zone()}


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """Lines that stand on one side only, each with its machine."""
    found: list[str] = []
    for name, lines in before.items():
        gone, come = set(lines) - set(after[name]), set(after[name]) - set(lines)
        found += [f"{name} - {line}" for line in sorted(gone)] + [f"{name} + {line}" for line in sorted(come)]
    return found
