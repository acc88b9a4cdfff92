"""Where the lab keeps what it makes: everything below .lab/, private to root."""

from __future__ import annotations

from pathlib import Path

LAB_SOURCE = Path(__file__).resolve().parents[1]
PROJECT = LAB_SOURCE.parents[1]
STATE = PROJECT / ".lab"

CONTAINERS_CONF = STATE / "containers.conf"
SECRETS = STATE / "secrets"
SSH = STATE / "ssh"
CA = STATE / "ca"
IMAGES = STATE / "images"
CACHE = STATE / "cache"
SYSCTL = STATE / "sysctl.json"
LOOPS = STATE / "loops.json"
SETTINGS = STATE / "settings.json"

# What `down` leaves for the next `up`; `down --purge` removes it, too.
KEPT = (CONTAINERS_CONF, CACHE)


def private_directory(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
