"""Podman's settings for this machine: detected, written to one file that CONTAINERS_CONF names."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

from bascule_lab import paths

WANTED_FILES = 16384
WANTED_PROCESSES = 30000


def has_unified_cgroups(root: Path = Path("/sys/fs/cgroup")) -> bool:
    """True where cgroup v2 alone is mounted; a hybrid has cgroup.controllers only below unified/."""
    return (root / "cgroup.controllers").exists()


def settings_text(unified: bool, files: int, processes: int, runc: bool) -> str:
    """The file's content. Hard limits are never raised: a machine without CAP_SYS_RESOURCE refuses that."""
    lines = [
        "[containers]",
        f'default_ulimits=["nofile={files}:{files}","nproc={processes}:{processes}"]',
    ]
    if not unified and runc:
        # crun refuses hybrid cgroups.
        lines += ["[engine]", 'runtime="runc"']
    return "\n".join(lines) + "\n"


def limit(kind: int, wanted: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def write_settings() -> bool:
    """Write the file if it differs; true when it did."""
    text = settings_text(
        has_unified_cgroups(),
        limit(resource.RLIMIT_NOFILE, WANTED_FILES),
        limit(resource.RLIMIT_NPROC, WANTED_PROCESSES),
        shutil.which("runc") is not None,
    )
    paths.private_directory(paths.STATE)
    if paths.CONTAINERS_CONF.exists() and paths.CONTAINERS_CONF.read_text() == text:
        return False
    paths.CONTAINERS_CONF.write_text(text)
    return True
