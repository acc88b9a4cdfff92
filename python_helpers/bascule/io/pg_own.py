"""Whether a closed side's data directory may hold what nobody else has: such a one is never removed, only put aside."""

from __future__ import annotations

from ..errors import BasculeError
from ..guard import state as rule
from ..guard.state import GuardState
from ..postgresql import control as control_file
from . import pg_diverged
from .pg_cluster import SEEDED_MARK, Cluster


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
    return cluster.has_signal() and not ran_as_primary(cluster) and not pg_diverged.has_left(cluster)


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
