"""`equality`: digest this side's rows from a snapshot of the switch; runs as a transient unit."""

from __future__ import annotations

import argparse

from ..io.pg_equality import ROLES, Comparer


def main(argv: list[str]) -> int:
    """Run the comparison of one side."""
    parser = argparse.ArgumentParser(prog="equality")
    parser.add_argument("--component", required=True)
    parser.add_argument("--epoch", required=True)
    parser.add_argument("--role", choices=ROLES, required=True)
    arguments = parser.parse_args(argv)
    return Comparer(arguments.component, arguments.epoch, arguments.role).run()
