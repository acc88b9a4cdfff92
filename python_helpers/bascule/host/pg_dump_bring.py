"""`pg_dump_bring`: bring the other side's dump here, restore it and compare; runs as a transient unit."""

from __future__ import annotations

import argparse

from ..io.pg_dump_bring import Bring


def main(argv: list[str]) -> int:
    """Bring and prove one dump."""
    parser = argparse.ArgumentParser(prog="pg_dump_bring")
    parser.add_argument("--component", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--rate", default="")
    arguments = parser.parse_args(argv)
    return Bring(arguments.component, arguments.name, arguments.manifest, arguments.rate).run()
