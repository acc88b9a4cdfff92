"""The host agent: `python3 /usr/local/lib/bascule/bascule.pyz SUBCOMMAND ARGUMENT…`, for units and forced commands.

A subcommand is a module of this package with `main(argv) -> int`.
"""

from __future__ import annotations

import importlib
import re
import sys

from ..errors import BasculeError


def main(argv: list[str]) -> int:
    """Run the subcommand; tell an error on standard error and in the exit status."""
    if not argv or not re.fullmatch(r"[a-z][a-z_]*", argv[0]):
        sys.stderr.write("expected: bascule.pyz SUBCOMMAND ARGUMENT…\n")
        return 2
    name = f"{(__package__ or 'bascule.host')}.{argv[0]}"
    try:
        subcommand = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        sys.stderr.write(f"expected: a subcommand of the host agent; found: {argv[0]}\n")
        return 2
    try:
        return int(subcommand.main(argv[1:]))
    except BasculeError as error:
        sys.stderr.write(error.message() + "\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
