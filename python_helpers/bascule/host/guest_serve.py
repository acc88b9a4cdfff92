"""`bascule.pyz guest_serve FOLDER…`: the forced command of the key by which the other node reads disks and archives."""

from __future__ import annotations

import sys

from ..errors import BasculeError
from ..io import guest_link


def main(argv: list[str]) -> int:
    """Run the rsync that was asked for, when it only reads one file in a readable folder."""
    try:
        return guest_link.serve(argv)
    except BasculeError as error:
        print(error.message(), file=sys.stderr)
        return 1
