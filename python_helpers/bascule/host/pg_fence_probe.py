"""`pg_fence_probe`: knock at the closed side for as long as this one is open; runs as a transient unit."""

from __future__ import annotations

import argparse

from ..io.pg_fence_probe import watch


def main(argv: list[str]) -> int:
    """Probe the other side's fence."""
    parser = argparse.ArgumentParser(prog="pg_fence_probe")
    parser.add_argument("--component", required=True)
    parser.add_argument("--epoch", required=True)
    arguments = parser.parse_args(argv)
    return watch(arguments.component, arguments.epoch)
