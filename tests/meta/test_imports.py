"""What is shipped to hosts is standard library with relative imports, and only bascule.io touches the world."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from bascule.io.agent import shipped

from .tree import MODULES, PACKAGE, PLUGINS, syntax

ALIAS = "ansible.module_utils.bascule"
# They start processes, open sockets, or reach files in bulk.
# fmt: off
WORLD = frozenset({
    "asyncio", "dns.query", "fcntl", "ftplib", "http.client", "multiprocessing", "paramiko", "proxmoxer",
    "psycopg", "pty", "requests", "shutil", "smtplib", "socket", "socketserver", "subprocess", "tempfile",
    "urllib.request",
})
# fmt: on
# fmt: off
TOUCHES = frozenset({
    "chmod", "chown", "glob", "iterdir", "makedirs", "mkdir", "open", "popen", "read_bytes", "read_text",
    "rename", "rglob", "rmdir", "symlink_to", "system", "touch", "unlink", "write_bytes", "write_text",
})
# fmt: on


def imports(path: Path) -> list[tuple[int, str]]:
    """Return (level, name) of everything a file imports."""
    found = []
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
            found += [(node.level, f"{node.module}.{alias.name}") for alias in node.names if node.module]
    return found


def shipped_files() -> list[Path]:
    """Return everything a module or the host agent takes with it."""
    found = set(shipped(PACKAGE, [path.stem for path in (PACKAGE / "host").glob("*.py")]))
    waiting = [
        name.removeprefix(f"{ALIAS}.").replace(".", "/")
        for path in MODULES
        for level, name in imports(path)
        if not level and name.startswith(f"{ALIAS}.")
    ]
    for name in waiting:
        for candidate in (f"{name}.py", f"{name}/__init__.py"):
            if (PACKAGE / candidate).is_file():
                found |= closure(candidate)
    return [PACKAGE / name for name in sorted(found)]


def closure(name: str) -> set[str]:
    """Return what a file imports, directly or not."""
    # `shipped` starts at subcommands; from there `..` leads anywhere in the package.
    return set(shipped(PACKAGE, [f"../{name.removesuffix('.py')}"])) | {name}


SHIPPED = shipped_files()
PURE = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] != "io"]
by_shipped = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(PACKAGE)))
by_pure = pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(PACKAGE)))


def test_something_is_shipped() -> None:
    names = {str(path.relative_to(PACKAGE)) for path in SHIPPED}
    assert {"guard/state.py", "io/guard_store.py", "io/module.py", "host/boot.py", "errors.py"} <= names


@by_shipped
def test_shipped_code_is_standard_library_with_relative_imports(path: Path) -> None:
    for level, name in imports(path):
        if level or name.startswith("ansible.module_utils.basic"):
            continue
        assert name.partition(".")[0] != "bascule", (
            f"{name}: an absolute import works on the controller and fails on hosts"
        )
        assert name.partition(".")[0] in sys.stdlib_module_names, f"{name} is not in the standard library"


@by_shipped
def test_shipped_code_runs_on_python_3_9(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, str(path), feature_version=(3, 9))
    if text.strip():
        assert "from __future__ import annotations" in text, "annotations would be evaluated"
    for node in ast.walk(tree):
        assert not isinstance(node, (ast.Match, ast.TryStar)), "newer syntax"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            newer = {"zip": {"strict"}, "dataclass": {"slots", "kw_only"}}.get(node.func.id, set())
            used = {keyword.arg for keyword in node.keywords}
            assert not newer & used, f"line {node.lineno}: {node.func.id} with {newer & used} needs Python 3.10"


def test_packages_are_empty() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert path.read_bytes() == b"", f"{path} is not empty"


@by_pure
def test_only_io_touches_the_world(path: Path) -> None:
    for level, name in imports(path):
        assert level or name not in WORLD, f"{name} belongs into bascule.io"
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                assert called.id != "open", f"line {node.lineno}: open() belongs into bascule.io"
            elif isinstance(called, ast.Attribute) and called.attr in TOUCHES:
                owner = called.value.id if isinstance(called.value, ast.Name) else ""
                assert owner in ("files", "self", "webbrowser"), (
                    f"line {node.lineno}: .{called.attr}() belongs into bascule.io"
                )


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_plugins_leave_the_world_to_io(path: Path) -> None:
    for _, name in imports(path):
        assert name not in WORLD, f"{name} belongs into bascule.io"
    on_host = path.parent.name == "modules"
    for level, name in imports(path):
        if not level and name.partition(".")[0] == "bascule":
            assert not on_host, f"{name}: a module imports {ALIAS}"
        if on_host and not level and name.partition(".")[0] not in ("ansible", "__future__"):
            assert name.partition(".")[0] in sys.stdlib_module_names, f"{name} is not on the hosts"
