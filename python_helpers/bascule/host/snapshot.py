"""`snapshot`: hold this side's snapshot of a switch while its rows are digested; runs as a transient unit."""

from __future__ import annotations

import argparse

from ..integrity.rows import LAYOUTS, PHYSICAL
from ..io.pg_snapshot import ROLES, Holder


def main(argv: list[str]) -> int:
    """Take the snapshot of one side and hold it."""
    parser = argparse.ArgumentParser(prog="snapshot")
    parser.add_argument("--component", required=True)
    parser.add_argument("--epoch", required=True)
    parser.add_argument("--role", choices=ROLES, required=True)
    parser.add_argument("--layout", choices=LAYOUTS, default=PHYSICAL)
    arguments = parser.parse_args(argv)
    return Holder(arguments.component, arguments.epoch, arguments.role, arguments.layout).run()
