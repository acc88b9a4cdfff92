"""The kernel's mount table: lines of /proc/PID/mountinfo as values, see proc_pid_mountinfo(5). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
_FLAGS = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
_STRICTATIME = 1 << 24
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of /proc/PID/mountinfo."""

    mount_id: int
    device: str
    root: str
    path: str
    options: tuple[str, ...]
    kind: str
    source: str
    super_options: tuple[str, ...]
    # The mount on which this one was mounted.
    parent_id: int = 0

    @property
    def read_only(self) -> bool:
        """Whether this mount refuses writes, whatever its file system says."""
        return "ro" in self.options

    @property
    def super_read_only(self) -> bool:
        """Whether the file system refuses writes."""
        return "ro" in self.super_options

    @property
    def unwatched(self) -> bool:
        """Whether fanotify watches its file system for nobody who asks by this mount: EXDEV, see fanotify_mark(2)."""
        return self.kind == "btrfs" and self.root != "/"

    @property
    def upper(self) -> tuple[str, ...]:
        """Where an overlay puts what is written to it, as whoever mounted it called that; empty for all others."""
        if self.kind != "overlay" or self.super_read_only:
            return ()
        named = (option.partition("=") for option in self.super_options)
        return tuple(unquote(value) for name, _, value in named if name in ("upperdir", "workdir"))

    @property
    def flags(self) -> int:
        """The flags a remount must repeat, or it would drop them."""
        flags = sum(_FLAGS.get(option, 0) for option in self.options)
        if not {"noatime", "relatime"} & set(self.options):
            flags |= _STRICTATIME
        return flags


def parse_mountinfo(text: str) -> list[Mount]:
    """Read the text of a mountinfo file; the last mount at a path is the one that is seen there."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        head, tail = left.split(" "), right.split(" ")
        if len(head) < 6 or len(tail) < 3:
            continue
        mounts.append(
            Mount(
                mount_id=int(head[0]),
                device=head[2],
                root=unquote(head[3]),
                path=unquote(head[4]),
                options=tuple(head[5].split(",")),
                kind=tail[0],
                source=unquote(tail[1]),
                super_options=tuple(tail[2].split(",")),
                parent_id=int(head[1]),
            )
        )
    return mounts


def mounted_at(mounts: Iterable[Mount], path: str) -> Optional[Mount]:
    """Return the mount that is seen at a path."""
    found = None
    for mount in mounts:
        if mount.path == path:
            found = mount
    return found


def holder(mounts: Iterable[Mount], path: str) -> Optional[Mount]:
    """Return the mount on which a path lies."""
    found = None
    for mount in mounts:
        above = path == mount.path or path.startswith(mount.path.rstrip("/") + "/")
        # A later mount at the same path covers the earlier one.
        if above and (found is None or len(mount.path) >= len(found.path)):
            found = mount
    return found


def unquote(text: str) -> str:
    """Return a path of a table of the kernel's, in which blanks and the like stand as octal numbers."""
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)
