"""Read and write files so that what was reported as written is there after a power cut."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

from ...errors import StoreError

AnyPath = Union[str, Path]


def read_text(path: AnyPath) -> str | None:
    """Return the file's text, or None when there is no such file."""
    try:
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def read_bytes(path: AnyPath) -> bytes:
    """Return the file's content; nothing when there is no such file."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return b""


def read_json(path: AnyPath) -> Any:
    """Return the file's content, or None when there is no such file; a file that does not parse is an error."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(
            expected=f"JSON in {path}",
            found=str(error),
            next_command=f"look at {path} by hand; Bascule never guesses a state it cannot read",
        ) from error


def make_directory(path: AnyPath, mode: int = 0o700) -> None:
    """Make a directory and its parents durably; directories that exist keep their mode."""
    target = Path(path)
    missing = []
    while not target.exists():
        missing.append(target)
        target = target.parent
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=mode)
        sync_directory(directory.parent)


def private_directory(path: AnyPath) -> None:
    """Make a directory, and raise StoreError unless it is this user's own and nobody else can change what lies in it.

    Whoever has made a directory in /tmp first decides what is found there, whatever its name.
    """
    target = Path(path)
    make_directory(target)
    for one in (target, *target.parents):
        status = one.lstat()
        if stat.S_ISLNK(status.st_mode):
            fault = "a symbolic link" if one == target else ""
        elif not stat.S_ISDIR(status.st_mode):
            fault = "no directory"
        elif status.st_uid != os.geteuid() and (one == target or status.st_uid != 0):
            fault = f"owned by user {status.st_uid}"
        elif status.st_mode & 0o022 and (one == target or not status.st_mode & stat.S_ISVTX):
            fault = f"writable for others (mode {stat.S_IMODE(status.st_mode):04o})"
        else:
            fault = ""
        if fault:
            raise StoreError(
                expected=f"{target} to be a directory of this user alone",
                found=f"{one} is {fault}",
                state="nothing was connected, read or written there",
                next_command=f"ls -ld {one}; name another one (in ansible.cfg: control_path_dir = ~/.ansible/cp), or, "
                f"when it is yours: chmod go-w {one}",
            )


def sync_directory(path: AnyPath) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: AnyPath, data: str | bytes, mode: int = 0o600) -> None:
    """Replace the file's content at once: after a crash the file holds the old content or the new, never a part."""
    target = Path(path)
    make_directory(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_directory(target.parent)


def write_json(path: AnyPath, value: Any, mode: int = 0o600) -> None:
    """Write `value` as readable JSON, durably."""
    write_durably(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", mode)


def append_durably(path: AnyPath, data: str | bytes, mode: int = 0o600) -> None:
    """Append to the file and make it durable before returning."""
    target = Path(path)
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    fresh = not target.exists()
    if fresh:
        make_directory(target.parent)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if fresh:
        sync_directory(target.parent)


def remove(path: AnyPath) -> bool:
    """Remove the file durably; return whether there was one."""
    target = Path(path)
    try:
        target.unlink()
    except FileNotFoundError:
        return False
    sync_directory(target.parent)
    return True


def rename(path: AnyPath, target: AnyPath, mode: int) -> None:
    """Move a file to another name in its directory durably, with these permissions; what has that name is replaced."""
    os.chmod(path, mode)
    os.replace(path, target)
    sync_directory(Path(target).parent)


@contextlib.contextmanager
def locked(path: AnyPath, wait: float = 30.0) -> Iterator[None]:
    """Hold the lock of a file, or of a directory that exists; give up with StoreError after `wait` seconds.

    The kernel drops the lock when the process dies, so a killed command never leaves one behind.
    """
    target = Path(path)
    make_directory(target.parent)
    flags = os.O_RDONLY if target.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(target, flags | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() >= deadline:
                    raise StoreError(
                        expected=f"the lock {target} within {wait:g} s",
                        found="another command holds it",
                        next_command="wait until the other command has ended (look for it with "
                        f"'fuser -v {target}'), then run this one again",
                    ) from error
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def children(path: AnyPath) -> list[Path]:
    """Return what is in a directory, sorted; nothing when there is no such directory."""
    directory = Path(path)
    return sorted(directory.iterdir()) if directory.is_dir() else []


def is_file(path: AnyPath) -> bool:
    """Return whether there is a regular file (or a link to one)."""
    return Path(path).is_file()


def is_directory(path: AnyPath) -> bool:
    """Return whether there is a directory (or a link to one)."""
    return Path(path).is_dir()


def append(path: AnyPath, data: str, mode: int = 0o600) -> None:
    """Append to the file without waiting for the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
    try:
        _write_all(descriptor, data.encode("utf-8", "surrogateescape"))
    finally:
        os.close(descriptor)


def size(path: AnyPath) -> int:
    """Return the file's size; 0 when there is no such file."""
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


def permissions(path: AnyPath) -> int:
    """Return the permission bits of a file that exists."""
    return stat.S_IMODE(Path(path).stat().st_mode)


def ends_with_newline(path: AnyPath) -> bool:
    """Return whether the last byte of a file that is not empty ends a line."""
    with Path(path).open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def expand_user(path: AnyPath) -> Path:
    """Return the path with a leading ~ resolved."""
    return Path(path).expanduser()


def sha256(path: AnyPath) -> str:
    """Return the digest of the file's content."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_tail(path: AnyPath, count: int) -> str:
    """Return the last bytes of a file as text; nothing when there is no such file."""
    try:
        with Path(path).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - count))
            return stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
