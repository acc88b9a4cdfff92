"""The rules of the house: who may touch the world, who imports whom, and what a file may need that is sent to hosts.

A kind is a sort of component: all of its Python lies in one folder, pure files beside a folder `io`.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

from bascule.agent.commands import COMMANDS
from bascule.agent.io import build
from bascule.system.io import sources

from .tree import MODULES, PACKAGE, PLUGINS, ROOT, syntax

ALIAS = "ansible.module_utils.bascule"
KINDS = ("dns", "entrance", "filetree", "firewall", "guest", "mongodb", "mysql", "postgresql", "sqlite", "vpn")
# Each folder may import those of lower layers, and itself; kinds and `run` stand side by side.
LAYERS = {
    "errors": 0,
    "system": 1,
    "guard": 2,
    **dict.fromkeys((*KINDS, "run"), 3),
    "report": 4,
    "schema": 4,
    "data": 4,
    "application": 4,
}
LAYERS |= {"plugin": 5, "agent": 5, "cli": 6}
# Besides the folders called `io`, these touch the world: they know Ansible, a host's command line, or a person's.
EDGES = ("plugin", "agent", "cli")
# They start processes, open sockets, or reach files in bulk.
# fmt: off
WORLD = frozenset({
    "asyncio", "ctypes", "dns.query", "fcntl", "ftplib", "grp", "http.client", "multiprocessing", "paramiko",
    "octodns.record", "octodns.zone", "proxmoxer", "psycopg", "pty", "pwd", "requests", "shutil", "smtplib", "socket",
    "pymongo", "pymysql", "socketserver", "sqlite3", "subprocess", "tempfile", "urllib.request",
})
TOUCHES = frozenset({
    "chmod", "chown", "environ", "getxattr", "glob", "is_dir", "is_file", "is_mount", "is_symlink", "iterdir",
    "listxattr", "lstat", "makedirs", "mkdir", "open", "popen", "read_bytes", "read_text", "readlink", "rename",
    "rglob", "rmdir", "symlink_to", "system", "touch", "unlink", "write_bytes", "write_text",
})
# fmt: on
# Debian has no client of MongoDB, but its driver (python3-pymongo). One file knows it, and says where it is missing.
DRIVERS = {"mongodb/io/client.py": ("bson", "pymongo")}
# Modules whose attributes of these names touch nothing.
HARMLESS = frozenset({"webbrowser"})


def label(path: Path) -> str:
    """Name a file as the rules do: relative to the package."""
    return path.relative_to(PACKAGE).as_posix()


def touches_by_place(path: Path) -> bool:
    """Tell whether a file's place says that it touches the world."""
    folders = path.relative_to(PACKAGE).parts[:-1]
    return "io" in folders or folders[:1] in [(edge,) for edge in EDGES]


@cache
def imports(path: Path) -> tuple[tuple[int, str], ...]:
    """Return (level, name) of everything a file imports."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
            found += [(node.level, f"{node.module}.{alias.name}") for alias in node.names if node.module]
    return tuple(found)


@cache
def imported(path: Path) -> frozenset[Path]:
    """Return the files of the package that a file of it imports, wherever in its text."""
    return frozenset(
        found for found in sources.imported(path) if found.is_file() and found.name != "__init__.py" and found != path
    )


@cache
def touches(path: Path) -> tuple[str, ...]:
    """Return what in a file's own text touches the world."""
    found = [name for level, name in imports(path) if not level and name in WORLD]
    for node in ast.walk(syntax(path)):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        # To take `sleep` as an argument whose default is the real one is how it is injected.
        if called in ("open", "os.replace", "time.sleep"):
            found.append(f"{called}()")
        elif isinstance(node, ast.Attribute) and node.attr in TOUCHES:
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner not in (*HARMLESS, "self"):
                found.append(f"line {node.lineno}: {owner}.{node.attr}")
    return tuple(found)


def shipped_files() -> list[Path]:
    """Return everything a module or the host agent takes with it."""
    # The module server is started by its text.
    found = set(sources.shipped(PACKAGE, [*build.entries(), "plugin/module_server.py"]))
    for path in MODULES:
        for level, name in imports(path):
            if not level and name.startswith(f"{ALIAS}."):
                relative = name.removeprefix(f"{ALIAS}.").replace(".", "/")
                found |= set(sources.shipped(PACKAGE, [f"{relative}.py"]))
    return [PACKAGE / name for name in sorted(found)]


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]
PURE = [path for path in FILES if not touches_by_place(path)]
SHIPPED = shipped_files()
by_file = pytest.mark.parametrize("path", FILES, ids=label)
by_shipped = pytest.mark.parametrize("path", SHIPPED, ids=label)
by_pure = pytest.mark.parametrize("path", PURE, ids=label)


def test_the_rules_look_at_the_whole_house() -> None:
    names = {label(path) for path in SHIPPED}
    assert {"guard/state.py", "guard/io/store.py", "plugin/module.py", "agent/boot.py", "errors.py"} <= names
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES} == set(LAYERS)
    assert all((PACKAGE / kind / "io").is_dir() for kind in KINDS)


@by_pure
def test_what_is_pure_touches_nothing(path: Path) -> None:
    assert touches(path) == (), f"{label(path)} belongs into a folder io"


@by_pure
def test_what_is_pure_imports_nothing_that_is_not(path: Path) -> None:
    # Each pure file is asked: what one imports directly or not is thereby pure as well.
    assert [label(found) for found in imported(path) if touches_by_place(found)] == []


def reaches_the_world(path: Path, seen: frozenset[Path] = frozenset()) -> bool:
    """Tell whether a file, or one that it imports, touches the world."""
    if touches(path):
        return True
    return any(reaches_the_world(found, seen | {path}) for found in imported(path) - seen)


@by_file
def test_what_touches_nothing_lies_in_no_io(path: Path) -> None:
    if "io" in path.relative_to(PACKAGE).parts[:-1]:
        assert reaches_the_world(path), f"{label(path)} is pure: it belongs beside the folder io"


@by_file
def test_imports_go_down_the_layers_and_never_from_kind_to_kind(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for found in imported(path):
        other = found.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert other == own or LAYERS[other] < LAYERS[own], f"{label(path)} imports {label(found)}"


def test_only_plugins_know_ansible() -> None:
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] != "plugin":
            assert not [name for _, name in imports(path) if name.partition(".")[0] == "ansible"], label(path)


@by_shipped
def test_shipped_code_is_standard_library_with_relative_imports(path: Path) -> None:
    for level, name in imports(path):
        if level or name.startswith("ansible.module_utils.basic"):
            continue
        assert name.partition(".")[0] != "bascule", (
            f"{name}: an absolute import works on the controller and fails on hosts"
        )
        known = name.partition(".")[0] in (*sys.stdlib_module_names, *DRIVERS.get(label(path), ()))
        assert known, f"{name} is not in the standard library"


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


# Hosts that were prepared by an earlier version call the agent by these names, from units, timers and authorized keys.
# fmt: off
PUBLIC = {
    "archive_follow", "boot", "equality", "fence_entrance", "fence_files", "fence_firewall", "fence_postgresql",
    "fence_vpn", "files_job", "files_receive", "files_recorder", "firewall_confirm", "firewall_undo", "follow",
    "guest_console", "guest_digest", "guest_pull", "guest_serve", "manifest", "pg_deadman", "pg_dump_bring",
    "pg_dump_take", "pg_fence_probe", "pg_side", "safety_dump", "seed", "snapshot",
}
# fmt: on


def test_the_agent_still_answers_to_every_name_that_hosts_know() -> None:
    assert set(COMMANDS) >= PUBLIC
    for name, command in COMMANDS.items():
        function = command.function.partition(":")[2]
        defined = {node.name for node in syntax(PACKAGE / command.file).body if isinstance(node, ast.FunctionDef)}
        assert function in defined, f"{name}: {command.file} has no function {function}"


def test_what_calls_the_agent_calls_a_subcommand_it_has() -> None:
    """Units name a subcommand right after the agent, in a list of words."""
    called = set()
    for path in FILES:
        for node in ast.walk(syntax(path)):
            if isinstance(node, (ast.List, ast.Tuple)):
                for agent, word in zip(node.elts, node.elts[1:]):
                    if ast.unparse(agent).endswith("AGENT") and isinstance(word, ast.Constant):
                        called.add(word.value)
    assert {"files_job", "guest_pull", "guest_serve", "pg_deadman", "follow"} <= called
    assert called <= set(COMMANDS)


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_plugins_leave_the_world_to_io(path: Path) -> None:
    for _, name in imports(path):
        assert name not in WORLD, f"{name} belongs into a folder io"
    on_host = path.parent.name == "modules"
    for level, name in imports(path):
        if not level and name.partition(".")[0] == "bascule":
            assert not on_host, f"{name}: a module imports {ALIAS}"
        if on_host and not level and name.partition(".")[0] not in ("ansible", "__future__"):
            assert name.partition(".")[0] in sys.stdlib_module_names, f"{name} is not on the hosts"


def test_plugins_of_a_kind_are_found_by_its_name() -> None:
    """A module imports the helpers of one kind at most, and its name begins with that kind."""
    for path in MODULES:
        used = {name.removeprefix(f"{ALIAS}.").partition(".")[0] for _, name in imports(path) if ALIAS in name}
        kinds = used & set(KINDS)
        assert len(kinds) <= 1, f"{path.relative_to(ROOT)} is of {kinds}"
        for kind in kinds:
            assert path.stem.startswith(f"bascule_{kind}_"), f"{path.relative_to(ROOT)} is of {kind}"
