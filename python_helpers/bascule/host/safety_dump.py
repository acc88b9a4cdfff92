"""`safety_dump`: dump what this side had when it closed, restore it once and compare; runs as a transient unit."""

from __future__ import annotations

import argparse
import os

from ..io.pg_safety import SafetyDump


def main(argv: list[str]) -> int:
    """Take and prove the safety dump of one switch."""
    parser = argparse.ArgumentParser(prog="safety_dump")
    parser.add_argument("--component", required=True)
    parser.add_argument("--epoch", required=True)
    arguments = parser.parse_args(argv)
    # Users and the way back come first.
    os.nice(10)
    return SafetyDump(arguments.component, arguments.epoch).run()
