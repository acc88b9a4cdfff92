"""The host agent: `python3 /usr/local/lib/bascule/bascule.pyz SUBCOMMAND ARGUMENT…`, for units and forced commands."""

from __future__ import annotations

import sys

from ..errors import BasculeError
from . import commands


def main(argv: list[str]) -> int:
    """Run the subcommand; tell an error on standard error and in the exit status."""
    if not argv or argv[0] not in commands.COMMANDS:
        found = argv[0] if argv else "nothing"
        known = ", ".join(commands.COMMANDS)
        sys.stderr.write(f"expected: bascule.pyz SUBCOMMAND ARGUMENT…, one of {known}; found: {found}\n")
        return 2
    try:
        return commands.run(argv[0], argv[1:])
    except BasculeError as error:
        sys.stderr.write(error.message() + "\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
