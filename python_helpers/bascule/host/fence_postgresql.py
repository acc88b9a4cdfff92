"""Re-apply the fence of a PostgreSQL side at boot, before anything could start its cluster."""

from __future__ import annotations

import argparse

from ..io.pg_cluster import Cluster, load_spec


def fence(component: str) -> None:
    """Make this host's cluster closed, as its guard says it is."""
    Cluster(load_spec(component)).fence()


def main(argv: list[str]) -> int:
    """Fence one component."""
    parser = argparse.ArgumentParser(prog="fence_postgresql")
    parser.add_argument("component")
    fence(parser.parse_args(argv).component)
    return 0
