"""`pg_dump_take`: take the dump by which a cluster moves; runs as a transient unit."""

from __future__ import annotations

import argparse

from ..io.pg_dump_take import Take


def main(argv: list[str]) -> int:
    """Take one dump."""
    parser = argparse.ArgumentParser(prog="pg_dump_take")
    parser.add_argument("--component", required=True)
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args(argv)
    return Take(arguments.component, arguments.name).run()
