"""The guests' disks: built once by tests/lab/pve/build_guest.py (cached), then given this lab's secrets, and by
build_small_guest.py, whose disk carries none."""

from __future__ import annotations

import sys
from pathlib import Path

from bascule_lab import paths, shell

BUILDER = paths.LAB_SOURCE / "pve" / "build_guest.py"
SMALL_BUILDER = BUILDER.with_name("build_small_guest.py")
DIRECTORY = paths.STATE / "guest"
DISK = DIRECTORY / "disk.raw"
SMALL_DISK = DIRECTORY / "small.raw"
# Name below /etc/courses in the guest -> the lab's file.
SECRETS = {"app_password": paths.SECRETS / "app_password", "ca.crt": paths.CA / "ca.crt"}
BUILD_SECONDS = 900


def build(personalised: bool) -> bool:
    """Build the cached disks and, if asked, this lab's copies; true when something was made."""
    if personalised and DISK.exists() and SMALL_DISK.exists():
        return False
    before = cached()
    cache = str(paths.private_directory(paths.CACHE))
    small = [sys.executable, str(SMALL_BUILDER), "--cache", cache]
    if personalised:
        small += ["--output", str(paths.private_directory(DIRECTORY) / SMALL_DISK.name)]
    shell.run(small, timeout=BUILD_SECONDS)
    command = [sys.executable, str(BUILDER), "--cache", cache]
    if personalised:
        command += ["--output", str(paths.private_directory(DIRECTORY) / DISK.name)]
        for name, source in SECRETS.items():
            command += ["--secret", f"{name}={source}"]
    shell.run(command, timeout=BUILD_SECONDS)
    return personalised or cached() != before


def cached() -> set[Path]:
    return set(paths.CACHE.glob("guest-*"))
