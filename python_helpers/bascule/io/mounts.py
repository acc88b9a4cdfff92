"""Mounts of a tree: read them in every namespace, change them, name who writes, prove a state by trying to write."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from ..files.mounts import (
    MS_BIND,
    MS_RDONLY,
    MS_REMOUNT,
    Elsewhere,
    Mount,
    Step,
    TreeBusy,
    TreeError,
    View,
    mounted_at,
    parse_mountinfo,
    view_of,
)

_PROC = Path("/proc")
_CLONE_NEWNS = 0x00020000


def look(path: str, private: str) -> View:
    """Return what the mounts of this host say about a tree, in every namespace that has a process."""
    own = _mounts("self")
    public = mounted_at(own, path)
    return view_of(path, private, own, _elsewhere(public.device) if public else [])


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
            current = mounted_at(_mounts("self"), step.path)
            _mount(None, step.path, flags | (current.flags if current else 0))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise TreeBusy(
                expected=f"to {step.describe()}",
                found="files are open for writing: " + (", ".join(writers(view.path)) or "by whom cannot be seen"),
                state=f"{view.path} is still {view.state}",
                next_command="stop or finish the writers named, then run the same playbook again",
            ) from error
        raise TreeError(
            expected=f"to {step.describe()}", found=os.strerror(error.errno or 0), state=f"{view.path} is {view.state}"
        ) from error


def writers(path: str) -> list[str]:
    """Name the processes that keep `path` writable: with files open for writing, mapped, or deleted while in use."""
    device = os.stat(path).st_dev
    label = f"{os.major(device):02x}:{os.minor(device):02x}"
    found: list[str] = []
    unseen = 0
    for pid in _processes():
        try:
            names = [*_open_for_writing(pid, device), *_mapped(pid, label)]
        except PermissionError:
            unseen += 1
            continue
        except OSError:
            continue
        if names:
            found.append(f"{_command(pid)} (process {pid}): {', '.join(dict.fromkeys(names))}")
    if unseen and not found:
        found.append(f"one of {unseen} processes that cannot be looked into")
    return found


def refused(path: str) -> bool:
    """Try to write below `path`; True when the kernel refuses because it is read-only. Leaves nothing behind."""
    return not _try_unnamed(path) and not _try_named(path)


def refused_unnamed(path: str) -> bool:
    """Try to write below `path` without leaving a trace, not even a changed time stamp of the directory."""
    return not _try_unnamed(path)


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


def _mounts(pid: str) -> list[Mount]:
    return parse_mountinfo((_PROC / pid / "mountinfo").read_bytes().decode("utf-8", "surrogateescape"))


def _processes() -> Iterator[int]:
    for name in os.listdir(_PROC):
        if name.isdigit():
            yield int(name)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
    return "?"


def _unit(pid: int) -> str:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
            last = line.rpartition("/")[2]
            if last.endswith(".service"):
                return last
    return ""


def _elsewhere(device: str) -> list[tuple[dict[str, str], list[Mount]]]:
    """Return the mounts of the device in each other namespace; mount ids tell namespaces apart without a privilege."""
    own_ids = {mount.mount_id for mount in _mounts("self")}
    seen: set[int] = set()
    found = []
    for pid in _processes():
        try:
            there = _mounts(str(pid))
        except OSError:
            continue
        # A kernel thread and a process of this namespace show the same ids; they are unique on the machine.
        mine = [m for m in there if m.device == device and m.mount_id not in own_ids and m.mount_id not in seen]
        if not mine:
            continue
        seen.update(m.mount_id for m in mine)
        who = {"namespace": _namespace(pid), "pid": str(pid), "command": _command(pid), "unit": _unit(pid)}
        found.append((who, mine))
    return found


def _namespace(pid: int) -> str:
    try:
        return os.readlink(_PROC / str(pid) / "ns" / "mnt")
    except OSError:
        return f"of process {pid}"


def open_for_writing(path: str) -> list[bytes]:
    """Return the paths of files that some process has open, or mapped, for writing."""
    device = os.stat(path).st_dev
    label = f"{os.major(device):02x}:{os.minor(device):02x}"
    found: set[bytes] = set()
    for pid in _processes():
        with contextlib.suppress(OSError):
            found |= {name for name, there in _open_files(pid, device) if there}
            found |= set(_mapped_files(pid, label))
    return sorted(found)


def _open_for_writing(pid: int, device: int) -> Iterator[str]:
    for name, _ in _open_files(pid, device):
        yield name.decode("utf-8", "backslashreplace")


def _open_files(pid: int, device: int) -> Iterator[tuple[bytes, bool]]:
    """Yield what a process has open for writing, and whether it still has a name."""
    directory = _PROC / str(pid) / "fd"
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
            info = (_PROC / str(pid) / "fdinfo" / entry.name).read_text()
            flags = next(int(line.split()[1], 8) for line in info.splitlines() if line.startswith("flags:"))
            if flags & os.O_ACCMODE != os.O_RDONLY:
                yield name, True
        except (FileNotFoundError, StopIteration):
            continue


def _mapped(pid: int, label: str) -> Iterator[str]:
    for name in _mapped_files(pid, label):
        yield f"{name.decode('utf-8', 'backslashreplace')} (mapped)"


def _mapped_files(pid: int, label: str) -> Iterator[bytes]:
    for line in (_PROC / str(pid) / "maps").read_bytes().splitlines():
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
            libc = ctypes.CDLL(None, use_errno=True)
            descriptor = os.open(f"/proc/{there.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            if libc.setns(descriptor, _CLONE_NEWNS) != 0:
                code = ctypes.get_errno()
            else:
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
