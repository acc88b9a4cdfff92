"""Digest the files of a stopped container's volume: what an archive of a container carries, and a restore puts back.

A restore makes a file system of its own, so blocks say nothing. Compared are, for each name: its kind, mode, owner and
group, the target of a link, the number of a device, all extended attributes (with access lists and capabilities),
which names are the same file, and the SHA-256 of its content. Not compared are times, and what Proxmox itself neither
archives nor restores: sockets, `lost+found`, what lies in `/dev`, its own `/etc/vzdump`, and the folders that other
volumes of the container are mounted on.

A volume that is a directory is read where it lies. Any other is mounted read-only, in a mount namespace of its own that
ends with the process: nothing of it is left when that is killed, and the journal of the file system is not replayed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

from ...errors import BasculeError, CommandFailed
from ...system.io import units
from ...system.io.process import Runner, run
from .. import disk_kinds

PREFIX = "files-sha256:"
_DIGEST = re.compile(PREFIX + "[0-9a-f]{64}")
_PIECE = 1 << 20
_LEFT_OUT = (b"dev", b"etc/vzdump")
# ext4 is what Proxmox makes; `noload` leaves a journal as it is. $0 is the volume, the rest is the command.
_MOUNTED = (
    'place=$(mktemp -d) && mount --types ext4 --options "ro,noload,nodev,nosuid,noexec$1" "$0" "$place" '
    '&& shift && "$@" "$place"; status=$?; umount "$place" 2>/dev/null; rmdir "$place"; exit $status'
)


def digest(disk: Mapping[str, Any], runner: Runner = run) -> str:
    """Return the digest of a volume's files; `at` is where the container mounts it, `mounts` where its others are.

    Raises:
        BasculeError: it cannot be mounted, or read.
    """
    path, at = str(disk["path"]), str(disk.get("at") or "/")
    mounts = [str(place) for place in disk.get("mounts") or ()]
    if disk_kinds.is_subvolume(str(disk.get("format"))):
        return of_folder(path, at, mounts)
    if not path.startswith("/"):
        raise BasculeError(
            expected=f"the volume {disk.get('volid')} as a file or a block device, to mount it",
            found=path,
            state="the volume was not read",
            next_command="switch krbd on for that storage, then run the same command again",
        )
    option = ",loop" if disk_kinds.lies_in_file(path) else ""
    command = [*units.AGENT, "guest_files", at, *mounts]
    try:
        done = runner(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNTED, path, option, *command],
            timeout=4 * 3600,
        )
    except CommandFailed as error:
        raise BasculeError(
            expected=f"to mount {path} (ext4) read-only and to read all files in it",
            found=error.found,
            state="the volume was not read to its end; nothing was changed in it",
            next_command="look at the volume, then run the same command again",
        ) from error
    found = str(done.stdout).strip()
    if not _DIGEST.fullmatch(found):
        raise BasculeError(
            expected=f"the digest of all files in {path} ({PREFIX}…)",
            found=found or "nothing",
            state="nothing is known of the volume; nothing was changed in it",
            next_command="look at the volume, then run the same command again",
        )
    return found


def work(words: list[str]) -> str:
    """Return the digest, for the process in the mount namespace: where it is mounted, its other mounts, the folder."""
    at, *mounts, folder = words
    return of_folder(folder, at, mounts)


def of_folder(folder: str, at: str = "/", mounts: list[str] | tuple[str, ...] = ()) -> str:
    """Return the digest of all files below a folder, which is mounted at `at` in its container."""
    base = at.rstrip("/")
    over = {os.fsencode(place[len(base) :].strip("/")) for place in mounts if place.startswith(base + "/")}
    left_out = {*(_LEFT_OUT if not base else ()), b"lost+found"}
    sha = hashlib.sha256()
    seen: dict[tuple[int, int], bytes] = {}
    root = os.fsencode(folder)
    device = os.lstat(root).st_dev
    for name in _names(root, b"", left_out | over, device):
        for part in _described(root, name, seen):
            sha.update(len(part).to_bytes(8, "big") + part)
    return PREFIX + sha.hexdigest()


def _names(root: bytes, below: bytes, left_out: set[bytes], device: int) -> list[bytes]:
    """Return all names below a folder in the order of their bytes; the folder itself is the empty name."""
    found, todo = [below], [below]
    while todo:
        folder = todo.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)
                if name in left_out:
                    continue
                state = entry.stat(follow_symlinks=False)
                if stat.S_ISSOCK(state.st_mode):
                    continue
                if stat.S_ISDIR(state.st_mode) and state.st_dev != device:
                    # Such as a nested subvolume of btrfs.
                    raise BasculeError(
                        expected="all files of the volume in one file system, as no archive takes what lies in another",
                        found=f"{os.fsdecode(os.path.join(root, name))} is a file system of its own",
                        state="the volume was not read to its end; nothing was changed in it",
                        next_command="start the container again where it served, take that file system out of its "
                        "volume or make it a plain folder, then run the same command again",
                    )
                found.append(name)
                if stat.S_ISDIR(state.st_mode):
                    todo.append(name)
    return sorted(found)


def _described(root: bytes, name: bytes, seen: dict[tuple[int, int], bytes]) -> list[bytes]:
    """Return everything that is compared of one name."""
    path = os.path.join(root, name) if name else root
    state = os.lstat(path)
    facts = [name, f"{state.st_mode:o} {state.st_uid} {state.st_gid}".encode(), *_attributes(path)]
    if stat.S_ISLNK(state.st_mode):
        facts.append(os.readlink(path))
    elif stat.S_ISCHR(state.st_mode) or stat.S_ISBLK(state.st_mode):
        facts.append(f"{os.major(state.st_rdev)}:{os.minor(state.st_rdev)}".encode())
    elif stat.S_ISREG(state.st_mode):
        first = seen.setdefault((state.st_dev, state.st_ino), name) if state.st_nlink > 1 else name
        facts.append(b"the same file as " + first if first != name else _content(path))
    return facts


def _attributes(path: bytes) -> list[bytes]:
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
        return [os.fsencode(name) + b"=" + os.getxattr(path, name, follow_symlinks=False) for name in names]
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def _content(path: bytes) -> bytes:
    sha = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            sha.update(piece)
    return sha.digest()
