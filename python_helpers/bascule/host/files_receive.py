"""What the other side's key may do here, and nothing else: `files_receive COMPONENT`, the key's forced command.

It lets a transfer in only while this side is closed, only into the private tree, and only from a side that was open
later; what this side held when it was closed is kept aside.
"""

from __future__ import annotations

import sys

from ..errors import BasculeError
from ..io import files_receive


def main(argv: list[str]) -> int:
    """Serve one request of the other side."""
    try:
        return files_receive.serve(argv[0])
    except BasculeError as error:
        sys.stderr.write(f"bascule: {error.message()}\n")
        return 1
