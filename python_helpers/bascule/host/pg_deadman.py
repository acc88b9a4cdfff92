"""`pg_deadman`: end a switch that came to no receipt in time, or whose driver died; run by a timer."""

from __future__ import annotations

import argparse

from ..io.pg_takeback import fire


def main(argv: list[str]) -> int:
    """Take back what has no receipt, and let held clients go on."""
    parser = argparse.ArgumentParser(prog="pg_deadman")
    parser.add_argument("--component", required=True)
    parser.add_argument("--epoch", required=True)
    arguments = parser.parse_args(argv)
    return fire(arguments.component, arguments.epoch)
