"""Build the host agent: one file with what the subcommands import, the same bytes from the same sources."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from ...system.io.sources import PACKAGE, shipped
from ..commands import COMMANDS

_MAIN = "import sys\n\nfrom bascule.agent.__main__ import main\n\nsys.exit(main(sys.argv[1:]))\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(package: Path = PACKAGE) -> bytes:
    """Return the agent's bytes."""
    names = shipped(package, entries())
    content = {"__main__.py": _MAIN.encode()}
    for name in names:
        content[f"bascule/{name}"] = (package / name).read_bytes()
    buffer = io.BytesIO()
    buffer.write(b"#!/usr/bin/env python3\n")
    # Stored, not compressed: two versions of zlib would write different bytes, and every prepare would install again.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content[name])
    return buffer.getvalue()


def entries() -> list[str]:
    """Return the files, relative to the package, that the agent starts with: its own, and those of its subcommands."""
    return ["agent/__main__.py", *(command.file for command in COMMANDS.values())]
