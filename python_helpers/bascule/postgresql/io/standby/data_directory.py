"""Whether a closed side's data directory may hold what nobody else has: such a one is never removed, only put aside."""

from __future__ import annotations

import os
from pathlib import Path

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.state import GuardState
from ....system.io import storage
from ....system.mountinfo import mounted_at, parse_mountinfo
from ... import control as control_file
from ...spec import Spec
from ..cluster.cluster import SEEDED_MARK, Cluster
from . import divergence


def was_built_here(cluster: Cluster, system_id: str) -> bool:
    """Whether a base backup of the same cluster has put the data directory there: its databases are nobody else's."""
    return (cluster.data / SEEDED_MARK).exists() and cluster.control().system_id == system_id


def ran_as_primary(cluster: Cluster) -> bool:
    """Whether the server runs as a primary, or did so until it ended."""
    # A fresh base backup says "in production" as well, until its first start; its backup_label tells.
    return cluster.control().state not in control_file.STANDING and not (cluster.data / "backup_label").exists()


def is_mere_copy(cluster: Cluster) -> bool:
    """Whether this stopped data directory is a base backup that was never anything but a standby."""
    if not (cluster.data / SEEDED_MARK).exists():
        return False
    if (cluster.data / "backup_label").exists():
        # It was never started.
        return True
    # One that was promoted and made a standby again, both by hand, is on a timeline of its own.
    return cluster.has_signal() and not ran_as_primary(cluster) and not divergence.has_left(cluster)


def refuse_primary(cluster: Cluster, guard: GuardState, system_id: str) -> None:
    """Refuse to build anew a closed side that somebody has started as a primary: what it wrote comes first."""
    if guard.status != rule.CLOSED or not cluster.exists() or cluster.control().system_id != system_id:
        return
    if not ran_as_primary(cluster):
        return
    spec = cluster.spec
    running = cluster.postmaster() is not None
    raise BasculeError(
        expected=f"{spec.side}, which is closed, to be a standby",
        found="it runs as a primary" if running else "it ended as a primary",
        state=f"nothing was changed on {spec.side}; what it alone may have is there only; {spec.peer_side} serves",
        next_command=(f"on {spec.side}: systemctl stop {spec.unit}; then " if running else "")
        + f"ansible-playbook playbooks/30_sync.yml --limit {spec.component} (keeps its state aside, exports what it "
        "alone has), then run prepare again",
    )


def misplaced(data: Path) -> str:
    """Return why a data directory cannot change places with its neighbours, or an empty text."""
    if data.is_symlink():
        return f"{data} is a symbolic link (to {os.readlink(data)}): a copy of it would be a copy of the link"
    if not data.exists():
        return ""
    # A directory bound from elsewhere on the same file system has the same device.
    mounts = parse_mountinfo(storage.read_text("/proc/self/mountinfo") or "")
    if data.stat().st_dev != data.parent.stat().st_dev or mounted_at(mounts, os.path.realpath(data)):
        return f"{data} is a mount point: nothing can be renamed to it, and what lies beside it is on another volume"
    return ""


def way_out(data: Path) -> str:
    """Return what to do about it."""
    return (
        f"stop the cluster, mount the volume at {data.parent} or above, and have the data in an ordinary directory "
        f"{data} on it"
    )


def require(spec: Spec) -> None:
    """Refuse a data directory that is a link or a mount point, before anything is changed."""
    data = Path(spec.data)
    found = misplaced(data)
    if found:
        raise BasculeError(
            expected=f"an ordinary data directory on {spec.side}",
            found=found,
            state="nothing was changed",
            next_command=f"{way_out(data)}; then audit again",
        )
