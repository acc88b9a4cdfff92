"""Mounts of a tree: read them in every namespace, change them, name who writes, prove a state by trying to write."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import signal
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from ....system.mountinfo import MS_BIND, MS_RDONLY, MS_REMOUNT, mounted_at
from ...mounts import Elsewhere, Step, TreeBusy, TreeError, View, view_of
from ...part import inside
from . import mount_tables, past_part, writable_aliases
from .mount_tables import PROC, mounts_of, processes


def look(path: str, private: str, deep: bool = False, part: bool = False) -> View:
    """Return what the mounts of this host say about a tree, in every namespace; `deep`: and who gets round them.

    `part`: the tree is a part of a larger file system; what reaches the rest of that is none of its mounts.
    """
    public = mounted_at(mounts_of("self"), path)
    if public is None:
        return View(path, private, None, None, part=part)
    tables, elsewhere = mount_tables.read(public.device)
    beyond: list[str] = []
    if deep and part:
        beyond = past_part.ways(path, public, tables)
    elif deep:
        beyond = writable_aliases.ways(path, public.device, tables)
    return view_of(path, private, tables.own, elsewhere, beyond, part)


def take(step: Step, view: View) -> None:
    """Do one step; a mount that somebody is writing through is named with its writers."""
    if step.what == "private":
        Path(step.path).mkdir(mode=0o700, parents=True, exist_ok=True)
        _mount(view.path, step.path, MS_BIND)
        # A bind takes the flags of where it was made from; a passive tree is writable through the private path alone.
        return
    flags = MS_REMOUNT | (MS_RDONLY if step.read_only else 0)
    if step.what == "mount":
        flags |= MS_BIND
    try:
        if step.elsewhere:
            _remount_elsewhere(step.elsewhere, flags | step.elsewhere.mount.flags)
        else:
            current = mounted_at(mounts_of("self"), step.path)
            _mount(None, step.path, flags | (current.flags if current else 0))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise TreeBusy(
                expected=f"to {step.describe()}",
                found="files are open for writing: " + (", ".join(_writers_of(view)) or "by whom cannot be seen"),
                state=f"{view.path} is still {view.state}",
                next_command="stop or finish the writers named, then run the same playbook again",
            ) from error
        raise TreeError(
            expected=f"to {step.describe()}", found=os.strerror(error.errno or 0), state=f"{view.path} is {view.state}"
        ) from error


def _writers_of(view: View) -> list[str]:
    if not view.part:
        return writers(view.path)
    return writers(view.path, [view.path, *(m.path for m in view.others), *(one.mount.path for one in view.elsewhere)])


def writers(path: str, below: Optional[Sequence[str]] = None) -> list[str]:
    """Name the processes that keep `path` writable: with files open for writing, mapped, or deleted while in use.

    `below`: only what is seen below these paths, where others use the same file system.
    """
    device = os.stat(path).st_dev
    label = f"{os.major(device):02x}:{os.minor(device):02x}"
    found: list[str] = []
    unseen = 0
    for pid in processes():
        try:
            names = [*_open_for_writing(pid, device), *_mapped(pid, label)]
            names = [name for name in names if below is None or any(inside(place, name) for place in below)]
        except PermissionError:
            unseen += 1
            continue
        except OSError:
            continue
        if names:
            found.append(f"{mount_tables.command(pid)} (process {pid}): {', '.join(dict.fromkeys(names))}")
    if unseen and not found:
        found.append(f"one of {unseen} processes that cannot be looked into")
    return found


def refused(path: str) -> bool:
    """Try to write below `path`; True when the kernel refuses because it is read-only. Leaves nothing behind."""
    return not _try_unnamed(path) and not _try_named(path)


def refused_unnamed(path: str) -> bool:
    """Try to write below `path` without leaving a trace, not even a changed time stamp of the directory."""
    return not _try_unnamed(path)


def refused_at(path: str) -> bool:
    """Try to write at a further mount of the tree, which may be one of a single file; one that is covered refuses."""
    try:
        if os.path.isdir(path):
            return refused_unnamed(path)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            # Opening a device or a pipe does something, and writes nothing to the file system.
            return _flagged(path)
        # Nothing of the file changes, also where the kernel lets it be opened.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        # No path leads to it; its flag has been looked at all the same.
        return True
    except OSError as error:
        if error.errno == errno.EROFS:
            return True
        if error.errno in (errno.ENXIO, errno.ETXTBSY, errno.EPERM):
            # Something else forbids it, such as a program that runs, or a file that is immutable.
            return _flagged(path)
        raise
    return False


def _flagged(path: str) -> bool:
    mount = mounted_at(mounts_of("self"), path)
    return mount is None or mount.read_only or mount.super_read_only


def _try_unnamed(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.EROFS:
            return False
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            return _try_named(path)
        raise
    try:
        os.write(descriptor, b"bascule\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _try_named(path: str) -> bool:
    name = os.path.join(path, f".bascule-probe-{secrets.token_hex(8)}")
    before = os.stat(path)
    try:
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.EROFS:
            return False
        raise
    try:
        os.write(descriptor, b"bascule\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        os.unlink(name)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return True


def open_for_writing(path: str) -> list[bytes]:
    """Return the paths of files that some process has open, or mapped, for writing."""
    device = os.stat(path).st_dev
    label = f"{os.major(device):02x}:{os.minor(device):02x}"
    found: set[bytes] = set()
    for pid in processes():
        with contextlib.suppress(OSError):
            found |= {name for name, there in _open_files(pid, device) if there}
            found |= set(_mapped_files(pid, label))
    return sorted(found)


def _open_for_writing(pid: int, device: int) -> Iterator[str]:
    for name, _ in _open_files(pid, device):
        yield name.decode("utf-8", "backslashreplace")


def _open_files(pid: int, device: int) -> Iterator[tuple[bytes, bool]]:
    """Yield what a process has open for writing, and whether it still has a name."""
    directory = PROC / str(pid) / "fd"
    for number in os.listdir(directory):
        try:
            entry = directory / number
            status = os.stat(entry)
            if status.st_dev != device:
                continue
            name = os.readlink(os.fsencode(entry))
            if status.st_nlink == 0:
                # Its blocks are freed when it is closed, which is a write as well.
                yield name, False
                continue
            info = (PROC / str(pid) / "fdinfo" / entry.name).read_text()
            flags = next(int(line.split()[1], 8) for line in info.splitlines() if line.startswith("flags:"))
            if flags & os.O_ACCMODE != os.O_RDONLY:
                yield name, True
        except (FileNotFoundError, StopIteration):
            continue


def _mapped(pid: int, label: str) -> Iterator[str]:
    for name in _mapped_files(pid, label):
        yield f"{name.decode('utf-8', 'backslashreplace')} (mapped)"


def _mapped_files(pid: int, label: str) -> Iterator[bytes]:
    for line in (PROC / str(pid) / "maps").read_bytes().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[3] == label.encode() and b"w" in parts[1] and parts[1].endswith(b"s"):
            # The kernel quotes a newline here, and nothing else.
            yield parts[5].replace(b"\\012", b"\n")


def _mount(source: Optional[str], target: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source) if source else None, os.fsencode(target), None, ctypes.c_ulong(flags), None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def unmount(target: str) -> None:
    """Take a mount away; it must not be in use."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(target), 0) != 0:
        code = ctypes.get_errno()
        raise TreeError(expected=f"to unmount {target}", found=os.strerror(code))


def _remount_elsewhere(there: Elsewhere, flags: int) -> None:
    """Remount in another namespace, from a child process: a process cannot come back out of one."""
    child = os.fork()
    if child == 0:
        code = errno.EIO
        try:
            mount_tables.enter(there.door or f"/proc/{there.pid}/ns/mnt")
            _mount(None, there.mount.path, flags)
            code = 0
        except OSError as error:
            code = error.errno or errno.EIO
        finally:
            os._exit(code & 0xFF)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise OSError(errno.EINTR, signal.Signals(-code).name)
    if code:
        raise OSError(code, os.strerror(code), there.mount.path)
