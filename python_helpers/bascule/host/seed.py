"""`seed`: build the passive side by a base backup of the other; runs as a transient unit."""

from __future__ import annotations

import argparse

from ..io.pg_seed import seed


def main(argv: list[str]) -> int:
    """Take the base backup and start the standby."""
    parser = argparse.ArgumentParser(prog="seed")
    parser.add_argument("--component", required=True)
    parser.add_argument("--max-rate", default="")
    arguments = parser.parse_args(argv)
    return seed(arguments.component, arguments.max_rate)
