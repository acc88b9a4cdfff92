"""What the size of a slot follows from on a host: the rate of the log, the room beside it, and what was set before."""

from __future__ import annotations

import shutil
from dataclasses import replace

from ....system.io import storage
from ... import conf, slots
from ...spec import Spec
from ..cluster.cluster import Cluster
from ..cluster.psql import Session


def open_ended(spec: Spec) -> bool:
    """Whether the plan leaves the size to what is measured."""
    return spec.max_slot_wal_keep_size == slots.AUTO


def average(session: Session) -> int:
    """Return how many bytes of log came in a second, over what the server's statistics have seen."""
    query = "SELECT wal_bytes / greatest(extract(epoch FROM clock_timestamp() - stats_reset), 1) FROM pg_stat_wal"
    return int(session.value(query) or 0)


def known(cluster: Cluster) -> int:
    """Return the size that prepare has written before, or 0."""
    text = storage.read_text(cluster.config / "conf.d" / conf.BASE)
    return max(0, conf.bytes_of(conf.set_in(text).get("max_slot_wal_keep_size", "0")))


def at_active(session: Session, spec: Spec) -> Spec:
    """Return the description of the side that serves with the size of its slot, from its own rate."""
    return _with(spec, slots.wanted(average(session), spec.slot_hours)) if open_ended(spec) else spec


def at_passive(spec: Spec, given: str, coming: int) -> Spec:
    """Return the description of the other side: as the side that serves has it, as far as this disk goes.

    `coming` bytes have yet to be copied to it.
    """
    return _with(spec, conf.bytes_of(given), coming) if open_ended(spec) else spec


def _with(spec: Spec, size: int, coming: int = 0) -> Spec:
    cluster = Cluster(spec)
    place = next(path for path in (cluster.data, *cluster.data.parents) if path.exists())
    free = max(0, shutil.disk_usage(place).free - coming)
    return replace(spec, max_slot_wal_keep_size=slots.render(slots.sized(size, free, known(cluster))))
