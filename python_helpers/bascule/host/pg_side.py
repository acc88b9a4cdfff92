"""`pg_side`: one side's part of a switch, driven over standard input and output by the controller."""

from __future__ import annotations

import argparse

from ..io.pg_side import COMMANDS, converse


def main(argv: list[str]) -> int:
    """Take part in a switch."""
    parser = argparse.ArgumentParser(prog="pg_side")
    parser.add_argument("--component", required=True)
    parser.add_argument("--side", required=True)
    parser.add_argument("--part", required=True, choices=sorted(COMMANDS))
    arguments = parser.parse_args(argv)
    return converse(arguments.component, arguments.side, arguments.part)
