"""`follow`: make a closed side keep its state aside, and follow the other side; runs as a transient unit."""

from __future__ import annotations

import argparse

from ..io.pg_follow import follow


def main(argv: list[str]) -> int:
    """Follow the other side under the epoch this side has closed for."""
    parser = argparse.ArgumentParser(prog="follow")
    parser.add_argument("--component", required=True)
    parser.add_argument("--epoch", required=True)
    arguments = parser.parse_args(argv)
    return follow(arguments.component, arguments.epoch)
