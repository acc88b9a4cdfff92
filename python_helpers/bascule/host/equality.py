"""`equality`: digest this side's rows under a snapshot that another unit holds; runs as a transient unit."""

from __future__ import annotations

import argparse

from ..io.pg_equality import Comparer


def main(argv: list[str]) -> int:
    """Run the comparison of one side, or go on with it."""
    parser = argparse.ArgumentParser(prog="equality")
    parser.add_argument("--component", required=True)
    parser.add_argument("--epoch", required=True)
    arguments = parser.parse_args(argv)
    return Comparer(arguments.component, arguments.epoch).run()
