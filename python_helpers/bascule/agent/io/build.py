"""Build the host agent: one file with what the subcommands import, the same bytes from the same sources."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ..commands import COMMANDS

PACKAGE = Path(__file__).resolve().parents[2]
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


def shipped(package: Path, names: Iterable[str]) -> list[str]:
    """Return these files, relative to the package, and all that they import, directly or not."""
    waiting = [package / name for name in names]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        waiting += [parent / "__init__.py" for parent in path.parents if parent == package or package in parent.parents]
        waiting += imported(path)
    return sorted(str(path.relative_to(package)) for path in found)


def imported(path: Path) -> list[Path]:
    """Return the files a module may import relatively; those that do not exist are names, not modules."""
    candidates = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1]
        for part in (node.module or "").split("."):
            base = base / part if part else base
        candidates += [base.with_suffix(".py"), base / "__init__.py"]
        candidates += [base / f"{alias.name}.py" for alias in node.names]
    return candidates
