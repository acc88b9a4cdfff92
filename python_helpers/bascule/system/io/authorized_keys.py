"""A permission in root's authorized_keys: one line per label, in a file that every component of the host shares.

Components are prepared side by side, so the file is read and written under a lock: without it two of them replace each
other's line, which nobody would notice before the way back needs it. On a Proxmox node the file is a link into the
cluster's file system, which other nodes write as well; there the cluster's own lock is taken too. Source:
pmxcfs(8), "distributed locking mechanism", and PVE::Cluster::cfs_lock: a directory below /etc/pve/priv/lock is the
lock, and setting its time to zero asks the file system to drop one whose holder died over two minutes ago.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Optional

from ...errors import StoreError
from . import storage

AUTHORIZED_KEYS = Path("/root/.ssh/authorized_keys")
_CLUSTER = Path("/etc/pve/priv")
# Longer than the cluster's file system keeps the lock of a holder that died.
_PATIENCE_SECONDS = 150.0


def set_line(
    label: str,
    line: Optional[str],
    *,
    check: bool = False,
    target: Path = AUTHORIZED_KEYS,
    cluster: Path = _CLUSTER,
    patience: float = _PATIENCE_SECONDS,
) -> bool:
    """Make `line` the only one that ends with `label`, or none when it is None; return whether that is a change.

    Lines of others are left as they are. Raises StoreError when a lock is held for longer than `patience` seconds.
    """
    # What is written is the file itself: a link to it stays a link.
    path = Path(os.path.realpath(target))
    wanted = [] if line is None else [line]
    if _of(label, _lines(path)) == wanted:
        return False
    if check:
        return True
    storage.make_directory(target.parent)
    with storage.locked(target.parent, patience), _cluster_lock(path, cluster, patience):
        lines = _lines(path)
        after = [found for found in lines if found not in _of(label, lines)] + wanted
        storage.write_durably(path, "".join(f"{found}\n" for found in after))
    return True


def _lines(path: Path) -> list[str]:
    return (storage.read_text(path) or "").splitlines()


def _of(label: str, lines: list[str]) -> list[str]:
    return [line for line in lines if line.endswith(f" {label}")]


@contextmanager
def _cluster_lock(path: Path, cluster: Path, patience: float) -> Iterator[None]:
    if cluster not in path.parents or not (cluster / "lock").is_dir():
        yield
        return
    lock = cluster / "lock" / "bascule-authorized_keys"
    deadline = time.monotonic() + patience
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            if time.monotonic() >= deadline:
                raise StoreError(
                    expected=f"the cluster's lock {lock} within {patience:g} s",
                    found="another node holds it",
                    state="nothing was changed",
                    next_command="wait until the other command has ended, then run this one again",
                ) from None
        # It asks, and is always refused while the lock is held; or it was let go just now.
        with suppress(OSError):
            os.utime(lock, (0, 0))
        time.sleep(0.1)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            lock.rmdir()
