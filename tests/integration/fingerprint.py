"""What of the lab's machines a phase could have changed, so that «touches nothing» can be shown."""

from __future__ import annotations

import subprocess
from pathlib import Path

MACHINES = [f"{kind}-{site}" for site in ("mtp", "tls") for kind in ("gw", "db", "files", "ns", "pve")]
NAME_SERVERS = ("198.18.1.53", "198.18.2.53")
SCRIPT = (Path(__file__).parent / "fingerprint.sh").read_text()


def machine(name: str) -> list[str]:
    """Return lines that describe one machine's configuration, mounts, units and firewall."""
    return _inside(name, "bash", "-c", SCRIPT)


def zone() -> list[str]:
    """Return the service's record and Bascule's own at both name servers."""
    lines: list[str] = []
    for address in NAME_SERVERS:
        for name, kind in (("courses", "A"), ("_bascule", "TXT")):
            answer = _inside("resolver", "dig", "+noall", "+answer", f"@{address}", f"{name}.techcorp.test", kind)
            lines += [f"{address} {line}" for line in answer]
    return lines


def lab() -> dict[str, list[str]]:
    """Return the fingerprint of every machine, by name, and of the zone."""
    return {**{name: machine(name) for name in MACHINES}, "zone": zone()}


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """Return the lines that stand on one side only, each with its machine."""
    found: list[str] = []
    for name, lines in before.items():
        gone, come = set(lines) - set(after[name]), set(after[name]) - set(lines)
        found += [f"{name} - {line}" for line in sorted(gone)] + [f"{name} + {line}" for line in sorted(come)]
    return found


def _inside(host: str, *command: str) -> list[str]:
    done = subprocess.run(
        ["podman", "exec", f"bascule-{host}", *command], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()
