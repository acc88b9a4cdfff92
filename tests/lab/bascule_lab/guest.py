"""The guest's disk: built once by tests/lab/pve/build_guest.py (cached), then given this lab's secrets."""

from __future__ import annotations

import sys
from pathlib import Path

from bascule_lab import paths, shell

BUILDER = paths.LAB_SOURCE / "pve" / "build_guest.py"
DIRECTORY = paths.STATE / "guest"
DISK = DIRECTORY / "disk.raw"
# Name below /etc/courses in the guest -> the lab's file.
SECRETS = {"app_password": paths.SECRETS / "app_password", "ca.crt": paths.CA / "ca.crt"}
BUILD_SECONDS = 900


def build(personalised: bool) -> bool:
    """Build the cached disk and, if asked, this lab's copy; true when something was made."""
    if personalised and DISK.exists():
        return False
    before = cached()
    command = [sys.executable, str(BUILDER), "--cache", str(paths.private_directory(paths.CACHE))]
    if personalised:
        command += ["--output", str(paths.private_directory(DIRECTORY) / "disk.raw")]
        for name, source in SECRETS.items():
            command += ["--secret", f"{name}={source}"]
    shell.run(command, timeout=BUILD_SECONDS)
    return personalised or cached() != before


def cached() -> set[Path]:
    return set(paths.CACHE.glob("guest-*"))
