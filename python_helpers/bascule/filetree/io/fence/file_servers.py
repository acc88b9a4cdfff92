"""Who hands a tree out to other machines: the kernel's NFS server, and servers whose open files no /proc shows.

What the kernel has let in so far stands in /proc/fs/nfs/exports; what it would let in when a client next asks, in the
table of exportfs(8), and where there is none (yet), in exports(5). Source: nfs-utils, support/nfs/exports.c.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ....system import mountinfo
from ....system.io import storage
from ... import part
from . import mount_tables
from .mount_tables import PROC

# Each with one path and one client a line.
EXPORTS = Path("/proc/fs/nfs/exports")
ETAB = Path("/var/lib/nfs/etab")
CONFIGURED = Path("/etc")
# NFS-Ganesha keeps files open by handles, the kernel's SMB server in the kernel.
SERVERS = {"ganesha.nfsd": "the NFS server NFS-Ganesha", "ksmbd.mountd": "the kernel's SMB server (ksmbd)"}


def exports(path: str, table: Path = EXPORTS, etab: Path = ETAB, configured: Path = CONFIGURED) -> list[str]:
    """Return what the kernel's NFS server exports at, in or above a path, each with its clients.

    `configured`: the directory with the files `exports` and `exports.d`, read where `etab` has nothing.
    """
    lines = [*_lines(table), *(_lines(etab) or _configured(configured))]
    found: dict[str, None] = {}
    for line in lines:
        place, clients = _split(line)
        if place.startswith("/") and (part.inside(path, place) or part.inside(place, path)):
            found.setdefault(f"{place} to {clients.partition('(')[0].strip() or '*'}")
    return list(found)


def running() -> list[str]:
    """Return the file servers that run here and whose open files cannot be seen, each with its process."""
    found = []
    for pid in mount_tables.processes():
        name = next((name for name in SERVERS if any(one.startswith(name) for one in _names(pid))), "")
        if name:
            found.append(f"{SERVERS[name]} ({name}, process {pid}), whose open files cannot be seen (stop it)")
    return found


def ways(path: str) -> list[str]:
    """Return who could write to a part of a larger file system by a server, in words."""
    told = "which keeps the mount by which it was exported, or is by the next client (exportfs -u it)"
    return [*[f"the NFS export of {one}, {told}" for one in exports(path)], *running()]


def _lines(file: Path) -> list[str]:
    return [line for line in (storage.read_text(file) or "").splitlines() if line and not line.startswith("#")]


def _configured(directory: Path) -> list[str]:
    found = []
    for file in (directory / "exports", *sorted((directory / "exports.d").glob("*.exports"))):
        for line in (storage.read_text(file) or "").replace("\\\n", " ").splitlines():
            bare = line.partition("#")[0].strip()
            if bare:
                found.append(bare)
    return found


def _split(line: str) -> tuple[str, str]:
    """Return the path of a line, and what follows it; one with blanks is quoted, or has them as octal numbers."""
    if line.startswith('"'):
        place, _, rest = line[1:].partition('"')
    else:
        place, *others = line.split(None, 1)
        rest = "".join(others)
    return mountinfo.unquote(place), rest


def _names(pid: int) -> Iterator[str]:
    """Yield the names a process goes by: threads and titles change some of them."""
    own = PROC / str(pid)
    yield mount_tables.command(pid)
    with contextlib.suppress(OSError):
        yield os.path.basename(os.readlink(own / "exe"))
    with contextlib.suppress(OSError):
        yield os.path.basename((own / "cmdline").read_bytes().partition(b"\0")[0].decode("utf-8", "replace"))
