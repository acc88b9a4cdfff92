"""Kernel settings the lab needs raised while it lives, and puts back at its end.

A name that begins with / is a file; any other is a sysctl.
"""

from __future__ import annotations

import json
from pathlib import Path

from bascule_lab import paths

# name -> (least value, why)
NEEDED = {
    "fs.inotify.max_user_instances": (1024, "every systemd in a container takes a few"),
    "net.core.rmem_default": (4194304, "WireGuard in user space loses packets with a small buffer"),
    # All containers together count as one process beside each of Ansible's, and the emulated guests are among them.
    "/sys/fs/cgroup/cpu/libpod_parent/cpu.shares": (8192, "the lab's hosts starve beside a busy controller"),
    "/sys/fs/cgroup/libpod_parent/cpu.weight": (800, "the lab's hosts starve beside a busy controller"),
}
# Not set here, but container networking switches it on: remembered, so that it is put back as well.
WATCHED = ("net.ipv4.ip_forward",)


def _file(name: str) -> Path:
    return Path(name) if name.startswith("/") else Path("/proc/sys") / name.replace(".", "/")


def read(name: str) -> int | None:
    try:
        return int(_file(name).read_text())
    except (OSError, ValueError):
        return None


def to_raise(current: dict[str, int | None]) -> dict[str, int]:
    """Which settings are too low, and what they become."""
    return {
        name: least for name, (least, _) in NEEDED.items() if (value := current.get(name)) is not None and value < least
    }


def remember_and_raise() -> dict[str, tuple[int, int]]:
    """Raise what is too low; returns name -> (before, after). The first values seen are the ones put back."""
    current = {name: read(name) for name in (*NEEDED, *WATCHED)}
    before: dict[str, int] = json.loads(paths.SYSCTL.read_text()) if paths.SYSCTL.exists() else {}
    missing = {name: value for name, value in current.items() if value is not None and name not in before}
    if missing:
        paths.SYSCTL.write_text(json.dumps({**before, **missing}, indent=1) + "\n")
    raised = {}
    for name, value in to_raise(current).items():
        _file(name).write_text(f"{value}\n")
        raised[name] = (current[name] or 0, value)
    return raised


def restore(others_run: bool) -> dict[str, tuple[int, int]]:
    """Put the remembered values back; returns what changed. Forwarding stays on while other containers may need it."""
    if not paths.SYSCTL.exists():
        return {}
    restored = {}
    for name, value in json.loads(paths.SYSCTL.read_text()).items():
        now = read(name)
        if now is not None and now != value and not (others_run and name in WATCHED):
            _file(name).write_text(f"{value}\n")
            restored[name] = (now, value)
    paths.SYSCTL.unlink()
    return restored
