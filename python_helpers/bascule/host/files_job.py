"""Do a long operation on a file tree, inside a transient unit: `files_job COMPONENT OPERATION`."""

from __future__ import annotations

import sys

from ..errors import BasculeError
from ..io import files_work


def main(argv: list[str]) -> int:
    """Do what the operation's request file asks for."""
    component, operation = argv
    try:
        return files_work.work(component, operation)
    except BasculeError as error:
        sys.stderr.write(error.message() + "\n")
        return 1
