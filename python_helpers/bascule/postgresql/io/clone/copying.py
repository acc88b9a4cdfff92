"""Copy the data directory of a standby that runs, under a backup that its own server begins and ends.

It goes through the server's functions and not through a connection for replication: the standby lets nobody in by one
from its own host, and no rule of its is changed for a trial. Blocks are shared where the file system can.
See https://www.postgresql.org/docs/15/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
from pathlib import Path

from ....errors import BasculeError
from ....system.io import storage
from ...clone import NAME, first_segment
from ...spec import Spec
from ..cluster.psql import Session
from ..standby.restore_point import CLONE

_LONGEST = 86400
_SEGMENT = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
# What is of the server that runs, or of the cluster as it is reached: a copy has none of it.
_LEFT_OUT = {
    "backup_label",
    "backup_manifest",
    "current_logfiles",
    "postgresql.auto.conf",
    "postmaster.opts",
    "postmaster.pid",
    "recovery.signal",
    "standby.signal",
    "tablespace_map",
}
_EMPTY = {
    "log",
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
}
# It says up to where the copy has to be replayed: read last, it says enough.
_CONTROL = Path("global/pg_control")


def copy(session: Session, spec: Spec, to: Path) -> None:
    """Copy it, as a standby that follows nobody.

    Args:
        session: one of the running standby, which stays open until the end.
        spec: the side.
        to: where the copy comes; its parent is there.

    Raises:
        BasculeError: something lies elsewhere, or the log went away meanwhile.
        SqlError: the server refuses the backup, or was promoted during it.
    """
    data = Path(spec.data)
    account = pwd.getpwnam(spec.owner)
    session.value(f"SELECT pg_backup_start('{NAME}', true)::text", timeout=_LONGEST)
    _directories_and_files(data, to)
    _file(data / _CONTROL, to / _CONTROL)
    label = str(session.query("SELECT labelfile FROM pg_backup_stop(false)", timeout=_LONGEST)[0]["labelfile"])
    first = first_segment(label)
    for name in sorted(os.listdir(data / "pg_wal")):
        if _SEGMENT.fullmatch(name) and (name.endswith(".history") or name[8:] >= first[8:]):
            _file(data / "pg_wal" / name, to / "pg_wal" / name)
    if not (to / "pg_wal" / first).exists():
        raise BasculeError(
            expected=f"{first} of the log of {spec.side}, with which its copy begins",
            found="the standby has removed it while it was copied",
            state="the copy is removed; nothing else was changed",
            next_command="try it again at a quieter time, or with a larger postgresql_replication_wal_keep_size",
        )
    storage.write_durably(to / "backup_label", label)
    for name in ("standby.signal", "postgresql.auto.conf"):
        storage.write_durably(to / name, "")
    for path, directories, names in os.walk(to):
        for one in (path, *(os.path.join(path, name) for name in (*directories, *names))):
            os.chown(one, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _directories_and_files(data: Path, to: Path) -> None:
    for path, directories, names in os.walk(data):
        here = Path(path).relative_to(data)
        (to / here).mkdir(mode=0o700)
        for name in list(directories):
            elsewhere = os.path.islink(os.path.join(path, name))
            if here / name in {Path(one) for one in _EMPTY}:
                # The log may lie on a volume of its own; that of a copy does not.
                (to / here / name).mkdir(mode=0o700)
                directories.remove(name)
            elif elsewhere:
                raise BasculeError(
                    expected=f"all of {data} in itself",
                    found=f"{here / name} is a symbolic link",
                    state="the copy is removed; nothing else was changed",
                )
        for name in names:
            if (name in _LEFT_OUT and here == Path()) or here / name == _CONTROL or name.startswith("pgsql_tmp"):
                continue
            _file(Path(path) / name, to / here / name)


def _file(source: Path, target: Path) -> None:
    """Copy a file; one that has vanished meanwhile is no loss, its log says so."""
    with contextlib.suppress(FileNotFoundError):
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
            return
        with source.open("rb") as original, target.open("wb") as made:
            os.fchmod(made.fileno(), 0o600)
            try:
                fcntl.ioctl(made.fileno(), CLONE, original.fileno())
            except OSError:
                shutil.copyfileobj(original, made, 1 << 20)
