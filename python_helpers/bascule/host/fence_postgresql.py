"""Bring a PostgreSQL side back to what its guard says, at boot, before anything could start its cluster."""

from __future__ import annotations

import argparse

from ..guard import state as rule
from ..io import guard_store
from ..io.pg_cluster import Cluster, load_spec
from ..postgresql import hba


def fence(component: str) -> None:
    """Make this host's cluster closed, or let nobody in but who rides through a freeze, as its guard says."""
    guard = guard_store.read_any(component, root=guard_store.GUARD_DIRECTORY)
    cluster = Cluster(load_spec(component))
    if guard.status != rule.OPEN:
        cluster.fence()
    elif guard.frozen:
        # The mark comes before the file when a side is frozen, and goes after it when it thaws.
        cluster.admit(hba.FROZEN)


def main(argv: list[str]) -> int:
    """Fence one component."""
    parser = argparse.ArgumentParser(prog="fence_postgresql")
    parser.add_argument("component")
    fence(parser.parse_args(argv).component)
    return 0
