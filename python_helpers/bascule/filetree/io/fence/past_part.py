"""Ways to write to a tree that is a part of a larger file system, past the mount that closes it.

* A mount, in any namespace, that shows the tree as a part of more, with no mount over the tree.
* A process that has something of the tree open, mapped, or as its directory, through such a mount: it came before the
  bind of the tree on itself. What is open for reading counts too, as /proc/self/fd opens it for writing again.
* An overlay whose upper layer lies in the tree; a loop device or a swap file; what the kernel's NFS server exports, as
  it keeps the mount by which it was exported; file servers whose open files cannot be seen.
* A mount namespace or a process that cannot be looked into.

What has no name any more changes no tree. Second names of files are looked for by `names_outside`, which walks.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ....system import mountinfo
from ....system.io import storage
from ....system.mountinfo import Mount
from ... import part
from ...manifest import printable
from ..manifest.walk import IS_DIRECTORY, walk
from . import file_servers, mount_tables, writable_aliases
from .mount_tables import PROC, Tables

_LOOPS = Path("/sys/block")
_SWAPS = Path("/proc/swaps")
_NAMED = 5
# What the kernel adds to the name of an open file that has lost it.
_UNNAMED = " (deleted)"


def ways(path: str, public: Mount, tables: Tables) -> list[str]:
    """Name every such way; `public` is the tree's own mount."""
    if not _ways(path, public, tables):
        return []
    # Mounts and processes come and go while they are looked at: what is so, is so twice.
    return _ways(path, public, mount_tables.read(public.device)[0])


def names_outside(root: str) -> list[str]:
    """Return files of a tree that have more names than are found in it: by the others they are written to as well."""
    suspects = _names_outside(root, None)
    # One that was given, or has lost, a name while it was walked over is none.
    return _names_outside(root, set(suspects)) if suspects else []


def _names_outside(root: str, again: Optional[set[str]]) -> list[str]:
    base = os.fsencode(root)
    missing: dict[int, list[int]] = {}
    names: dict[int, bytes] = {}
    for path, inode, kind in walk(base):
        if kind == IS_DIRECTORY:
            continue
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            links = os.lstat(os.path.join(base, path)).st_nlink
            if links > 1:
                missing.setdefault(inode, [links, 0])[1] += 1
                names.setdefault(inode, path)
    found = [printable(names[inode]) for inode, (links, seen) in missing.items() if seen < links]
    return sorted(one for one in found if again is None or one in again)


def _ways(path: str, public: Mount, tables: Tables) -> list[str]:
    root, device = public.root, public.device
    found = [f"{door}, which keeps a mount namespace alive that cannot be looked into" for door in tables.shut]
    for mount in part.past(root, device, tables.mounts):
        told = tables.told_by[mount.mount_id]
        found.append(f"the mount {mount.path}{_who(told)}, which shows the tree as a part of more")
    for seen in tables.overlays.values():
        found += _upper(path, root, device, seen, tables)
    found += _kernel(root, path, tables)
    return found + sorted(_processes(path, root, tables))


def _upper(path: str, root: str, device: str, seen: list[tuple[str, Mount]], tables: Tables) -> Iterator[str]:
    mount, pid = seen[0][1], seen[0][0]
    who = f"the overlay at {mount.path}{_who(pid)}"
    for upper in mount.upper:
        # A path of whoever mounted it: in the namespace of a container it may lead elsewhere, or nowhere.
        starts = ("", f"/proc/{pid}/root" if pid.isdigit() else "") if upper.startswith("/") else ()
        known = [place for place in {_path_place(start + upper, tables) for start in starts} if place is not None]
        if any(at == device and part.inside(root, place) for at, place in known):
            yield f"{who}, which writes to {upper}"
        # A path may lead elsewhere by now; room alone deceives where a quota counts for a directory.
        elif any(at == device for at, _ in known) or _may_be_there(seen, path):
            more = "" if starts else ", a relative path (mount it again with absolute paths, or unmount it)"
            yield f"{who}, of which cannot be told where {upper} lies{more}"


def _may_be_there(seen: list[tuple[str, Mount]], path: str) -> bool:
    """Tell whether an overlay may write to the tree's file system: it has exactly as much room, or cannot be seen."""
    for pid, one in seen:
        with contextlib.suppress(OSError):
            return writable_aliases.same_room(f"/proc/{pid}/root{one.path}" if pid.isdigit() else one.path, one, path)
    return True


def _kernel(root: str, path: str, tables: Tables) -> Iterator[str]:
    """Yield what the kernel itself writes to, with no process that has it open."""
    for device in storage.children(_LOOPS):
        backing = storage.read_text(device / "loop" / "backing_file")
        if backing and part.inside(path, backing.strip()):
            yield f"/dev/{device.name}, a loop device on {backing.strip()}"
    for line in (storage.read_text(_SWAPS) or "").splitlines()[1:]:
        if part.inside(path, mountinfo.unquote(line.split()[0])):
            yield f"{line.split()[0]}, which is swapped to"
    yield from file_servers.ways(path)


def _processes(path: str, root: str, tables: Tables) -> Iterator[str]:
    tree = _Tree(os.stat(path).st_dev, root, tables)
    holders: list[tuple[int, list[str], dict[int, list[str]]]] = []
    for pid in mount_tables.processes():
        tree.unnamed = {}
        try:
            held = list(dict.fromkeys(_held(pid, tree)))
        except PermissionError:
            yield f"process {pid} ({mount_tables.command(pid)}), which cannot be looked into"
            continue
        except OSError:
            # It has ended.
            continue
        if held or tree.unnamed:
            holders.append((pid, held, tree.unnamed))
    sought = {inode for _, _, unnamed in holders for inode in unnamed}
    there = {inode for _, inode, _ in walk(os.fsencode(path)) if inode in sought} if sought else set()
    for pid, held, unnamed in holders:
        held = [*held, *(name for inode in sorted(there & set(unnamed)) for name in unnamed[inode])]
        if held:
            name = mount_tables.unit(pid) or mount_tables.command(pid)
            more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
            yield f"{name} (process {pid}), which holds {', '.join(held[:_NAMED])}{more} past the tree's own mount"


@dataclass
class _Tree:
    """The tree that is asked for; `unnamed` are files, by inode, that are open by a name which they do not have."""

    device: int
    root: str
    tables: Tables
    unnamed: dict[int, list[str]] = field(default_factory=dict)


def _held(pid: int, tree: _Tree) -> Iterator[str]:
    """Yield what of the tree a process, or one of its threads, reaches by a mount that is not the tree's."""
    yield from _held_by_thread(pid, pid, tree)
    for thread in mount_tables.threads(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield from _held_by_thread(pid, thread, tree)


def _held_by_thread(pid: int, thread: int, tree: _Tree) -> Iterator[str]:
    own = PROC / str(pid) / "task" / str(thread)
    if thread == pid or not mount_tables.alike(pid, thread, mount_tables.PLACES):
        for name, what in (("cwd", "its working directory "), ("root", "its root "), ("exe", "its program ")):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield from _judge(own / name, what, tree)
    if thread == pid or not mount_tables.alike(pid, thread, mount_tables.FILES):
        for number in os.listdir(own / "fd"):
            with contextlib.suppress(FileNotFoundError):
                yield from _judge(own / "fd" / number, "", tree)
    if thread != pid and mount_tables.alike(pid, thread, mount_tables.MEMORY):
        return
    # A thread has these by its own number, though no list of /proc shows that.
    own = PROC / str(thread)
    for line in (own / "maps").read_bytes().splitlines():
        place, flags, _, numbers, *_ = line.decode("utf-8", "surrogateescape").split()
        if flags.endswith("s") and numbers != "00:00":
            # One that is only read may be made writable, if its file was opened so.
            name = "-".join(f"{int(end, 16):x}" for end in place.split("-"))
            with contextlib.suppress(FileNotFoundError):
                yield from _judge(own / "map_files" / name, "mapped ", tree)


def _judge(link: Path, what: str, tree: _Tree) -> Iterator[str]:
    status = os.stat(link)
    if status.st_dev != tree.device or not (status.st_nlink or stat.S_ISDIR(status.st_mode)):
        return
    descriptor = os.open(link, os.O_PATH | os.O_CLOEXEC)
    try:
        mount = tree.tables.mounts.get(_mount_id(descriptor))
        told = os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    if mount is None:
        yield f"{what}{told} (in a mount that was taken away while in use)"
    elif not part.inside(tree.root, mount.root) and not mount.read_only:
        if told.endswith(_UNNAMED) and not stat.S_ISDIR(status.st_mode):
            # It has a name all the same, given by a link: where that is, only the inode tells.
            tree.unnamed.setdefault(status.st_ino, []).append(f"{what}{told} (which has another name in the tree)")
        elif not part.inside(mount.path, told) or not _by_whole_paths(mount, tree.tables):
            yield f"{what}{told} (of which cannot be told where it lies)"
        elif part.inside(tree.root, part.place_of(mount, told)):
            yield f"{what}{told}"


def _by_whole_paths(mount: Mount, tables: Tables) -> bool:
    """Tell whether a mount's path counts from the root of its namespace, as those of open files do.

    That of a process in another directory (chroot) counts from there.
    """
    pid = tables.told_by[mount.mount_id]
    try:
        return not pid.isdigit() or os.readlink(PROC / pid / "root") == "/"
    except OSError:
        return False


def _path_place(path: str, tables: Tables) -> Optional[tuple[str, str]]:
    """Return the device of a path's file system and its place in that; None when it cannot be told."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        mount = tables.mounts.get(_mount_id(descriptor))
        told = os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    if mount is None or not part.inside(mount.path, told) or not _by_whole_paths(mount, tables):
        return None
    return mount.device, part.place_of(mount, told)


def _mount_id(descriptor: int) -> int:
    for line in (PROC / "self" / "fdinfo" / str(descriptor)).read_text().splitlines():
        if line.startswith("mnt_id:"):
            return int(line.split()[1])
    return -1


def _who(pid: str) -> str:
    if not pid.isdigit():
        return ""
    return f" of {mount_tables.unit(int(pid)) or mount_tables.command(int(pid))} (process {pid})"
