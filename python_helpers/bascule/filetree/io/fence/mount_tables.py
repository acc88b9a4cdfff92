"""The mount tables of this host: of each namespace in which a process lives, or which a mount keeps alive."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ....system.mountinfo import Mount, parse_mountinfo

PROC = Path("/proc")
CLONE_NEWNS = 0x00020000
# What kcmp(2) compares (linux/kcmp.h), and its number by machine.
MEMORY, FILES, PLACES = 1, 2, 3
_KCMP = {"x86_64": 312, "aarch64": 272}
_LIBC = ctypes.CDLL(None, use_errno=True)

# Who lives in a namespace, and its mounts of one device.
There = tuple[dict[str, str], list[Mount]]


@dataclass
class Tables:
    """What all mount tables say, as far as a tree needs it."""

    own: list[Mount]
    # The device of every mount that any table shows; the numbers are unique on the machine.
    devices: dict[int, str] = field(default_factory=dict)
    # Each mount by its number, and the process whose table told it first.
    mounts: dict[int, Mount] = field(default_factory=dict)
    told_by: dict[int, str] = field(default_factory=dict)
    # Each overlay by its device, with the processes that see it.
    overlays: dict[str, list[tuple[str, Mount]]] = field(default_factory=dict)
    # Namespaces that have a process, and what keeps others alive.
    namespaces: set[str] = field(default_factory=set)
    doors: dict[str, list[str]] = field(default_factory=dict)
    # What could not be looked into.
    shut: list[str] = field(default_factory=list)


def read(device: str) -> tuple[Tables, list[There]]:
    """Read all tables; return, too, who else sees mounts of a device; a mount is told once."""
    tables = Tables(mounts_of("self"))
    _take_in(tables, "self", tables.own)
    found: list[There] = []
    for pid in (one for process in processes() for one in (process, *_apart(process))):
        name = str(pid)
        try:
            there = mounts_of(name)
        except OSError:
            continue
        # A kernel thread and a process of this namespace show the same mounts.
        mine = [mount for mount in there if mount.device == device and mount.mount_id not in tables.devices]
        space = namespace(pid)
        tables.namespaces.add(space)
        _take_in(tables, name, there)
        if mine:
            found.append(({"namespace": space, "pid": name, "command": command(pid), "unit": unit(pid)}, mine))
    for space, doors in tables.doors.items():
        # Whoever showed it may have ended meanwhile; another one may show it still.
        door = next((one for one in doors if os.path.exists(one)), "")
        if space in tables.namespaces or not door:
            continue
        try:
            there = _mounts_behind(door)
        except OSError:
            tables.shut.append(door)
            continue
        mine = [mount for mount in there if mount.device == device and mount.mount_id not in tables.devices]
        _take_in(tables, "", there)
        if mine:
            found.append(({"namespace": space, "pid": "0", "command": "", "unit": "", "door": door}, mine))
    return tables, found


def mounts_of(pid: str) -> list[Mount]:
    """Return the mounts that a process sees."""
    return parse_mountinfo((PROC / pid / "mountinfo").read_bytes().decode("utf-8", "surrogateescape"))


def processes() -> Iterator[int]:
    """Yield all processes."""
    for name in os.listdir(PROC):
        if name.isdigit():
            yield int(name)


def threads(pid: int) -> list[int]:
    """Return the further threads of a process; none when it has ended."""
    try:
        return [int(name) for name in os.listdir(PROC / str(pid) / "task") if name != str(pid)]
    except OSError:
        return []


def alike(pid: int, thread: int, what: int) -> bool:
    """Tell whether a thread shares something with its process's first one, as kcmp(2) says; False when unknown."""
    number = _KCMP.get(os.uname().machine)
    return number is not None and _LIBC.syscall(number, pid, thread, what, 0, 0) == 0


def command(pid: int) -> str:
    """Return the name of a process."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "comm").read_text(errors="replace").strip()
    return "?"


def unit(pid: int) -> str:
    """Return the service that a process belongs to; empty when it is none."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "cgroup").read_text().splitlines():
            last = line.rpartition("/")[2]
            if last.endswith(".service"):
                return last
    return ""


def namespace(pid: int) -> str:
    """Return the mount namespace of a process."""
    try:
        return os.readlink(PROC / str(pid) / "ns" / "mnt")
    except OSError:
        return f"of process {pid}"


def enter(door: str) -> None:
    """Go into a mount namespace; for a child process, as one does not come back."""
    descriptor = os.open(door, os.O_RDONLY | os.O_CLOEXEC)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNS) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), door)


def _apart(pid: int) -> list[int]:
    """Return the threads of a process that see other mounts than its first one."""
    further = threads(pid)
    return [one for one in further if namespace(one) != namespace(pid)] if further else []


def _take_in(tables: Tables, pid: str, mounts: list[Mount]) -> None:
    for mount in mounts:
        if mount.upper:
            tables.overlays.setdefault(mount.device, []).append((pid, mount))
        elif mount.kind == "nsfs" and mount.root.startswith("mnt:["):
            root = "" if pid == "self" else f"/proc/{pid}/root"
            tables.doors.setdefault(mount.root, []).append(root + mount.path)
        tables.devices[mount.mount_id] = mount.device
        tables.mounts.setdefault(mount.mount_id, mount)
        tables.told_by.setdefault(mount.mount_id, pid)


def _mounts_behind(door: str) -> list[Mount]:
    """Return the mounts of a namespace without a process: a child goes there, and is looked at."""
    ready, inside = os.pipe()
    stay, leave = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(leave)
            enter(door)
            os.write(inside, b"x")
            os.read(stay, 1)
            code = 0
        finally:
            os._exit(code)
    os.close(inside)
    os.close(stay)
    try:
        if not os.read(ready, 1):
            raise OSError(0, "it cannot be entered", door)
        return mounts_of(str(child))
    finally:
        os.close(leave)
        os.close(ready)
        os.waitpid(child, 0)
