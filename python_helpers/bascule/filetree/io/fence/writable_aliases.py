"""Ways to write to a tree that no flag of a mount can forbid, as no mount table shows them as mounts of it.

* An overlay whose upper layer lies in the tree, as a container engine makes it: it has a copy of the mount for itself.
* A process that sits in a mount that was taken out of its table while in use (`umount --lazy`).
* A mount namespace that is kept alive and cannot be looked into.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ....system.mountinfo import Mount
from . import mount_tables
from .mount_tables import PROC, Tables

_TRIES = 3


def ways(path: str, device: str, tables: Tables) -> list[str]:
    """Name every such way."""
    if not _ways(path, device, tables):
        return []
    # Mounts and processes come and go while they are looked at: what is so, is so twice.
    return _ways(path, device, mount_tables.read(device)[0])


def _ways(path: str, device: str, tables: Tables) -> list[str]:
    found = [f"{door}, which keeps a mount namespace alive that cannot be looked into" for door in tables.shut]
    for seen in tables.overlays.values():
        upper = _upper_in(path, device, seen, tables)
        if upper:
            found.append(upper)
    return found + sorted(_hidden(path, tables))


def _upper_in(path: str, device: str, seen: list[tuple[str, Mount]], tables: Tables) -> str:
    """Describe an overlay whose upper layer lies in the tree; empty when it lies elsewhere."""
    mount = seen[0][1]
    told = ", ".join(mount.upper)
    where = f"the overlay at {mount.path}{_who(seen[0][0])}"
    known = False
    for pid, one in seen:
        for root in ("", f"/proc/{pid}/root"):
            for upper in one.upper:
                with contextlib.suppress(OSError):
                    if _device(root + upper, tables) == device:
                        return f"{where}, which writes to {upper}"
        # A path may lead elsewhere by now. How much room there is, is what its upper layer's file system says.
        with contextlib.suppress(OSError):
            if same_room(f"/proc/{pid}/root{one.path}" if pid else one.path, one, path):
                return f"{where}, which writes to {told} in the same file system"
            known = True
            break
    return "" if known else f"{where}, of which cannot be told where {told} lies"


def same_room(overlay: str, mount: Mount, path: str) -> bool:
    """Tell whether an overlay, seen at a path, has exactly as much room as the file system at `path`.

    Raises FileNotFoundError when another mount is seen there.
    """
    descriptor = os.open(overlay, os.O_PATH | os.O_CLOEXEC)
    try:
        if _mount_id(descriptor) != mount.mount_id:
            raise FileNotFoundError(overlay)
        for _ in range(_TRIES):
            one, other = os.fstatvfs(descriptor), os.statvfs(path)
            if (one.f_frsize, one.f_blocks, one.f_files) != (other.f_frsize, other.f_blocks, other.f_files):
                return False
            if (one.f_bfree, one.f_ffree) == (other.f_bfree, other.f_ffree):
                return True
        return False
    finally:
        os.close(descriptor)


def _hidden(path: str, tables: Tables) -> Iterator[str]:
    """Yield the processes that have the tree open in a mount that no table shows."""
    device = os.stat(path).st_dev
    for pid in mount_tables.processes():
        with contextlib.suppress(OSError):
            what = next((what for what, number in _held(pid, device) if number not in tables.devices), "")
            if what:
                name = mount_tables.unit(pid) or mount_tables.command(pid)
                yield f"{name} (process {pid}), which has {what} in a mount that was taken away while in use"


def _held(pid: int, device: int) -> Iterator[tuple[str, int]]:
    """Yield what a process could write through, with the mount it is in: directories, and files open for writing."""
    own = PROC / str(pid)
    for name, what in (("cwd", "its working directory"), ("root", "its root")):
        with contextlib.suppress(OSError):
            if os.stat(own / name).st_dev == device:
                descriptor = os.open(own / name, os.O_PATH | os.O_CLOEXEC)
                try:
                    yield what, _mount_id(descriptor)
                finally:
                    os.close(descriptor)
    for number in os.listdir(own / "fd"):
        with contextlib.suppress(OSError):
            status = os.stat(own / "fd" / number)
            if status.st_dev != device:
                continue
            info = _fdinfo(str(pid), number)
            if stat.S_ISDIR(status.st_mode) or int(info["flags"], 8) & os.O_ACCMODE != os.O_RDONLY:
                yield os.readlink(own / "fd" / number), int(info["mnt_id"])


def _device(path: str, tables: Tables) -> str:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return tables.devices.get(_mount_id(descriptor), "")
    finally:
        os.close(descriptor)


def _mount_id(descriptor: int) -> int:
    return int(_fdinfo("self", str(descriptor))["mnt_id"])


def _fdinfo(pid: str, number: str) -> dict[str, str]:
    lines = (PROC / pid / "fdinfo" / number).read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _who(pid: str) -> str:
    if not pid.isdigit():
        return ""
    return f" of {mount_tables.unit(int(pid)) or mount_tables.command(int(pid))} (process {pid})"
