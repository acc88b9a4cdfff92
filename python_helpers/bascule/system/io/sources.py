"""Which files of the package another one needs: what is sent to hosts takes no more than that."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]


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
