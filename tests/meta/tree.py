"""What the meta tests look at: the tree as it is."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bascule.run.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python_helpers" / "bascule"
ROLES = ROOT / "roles"
PLUGINS = ROOT / "plugins"
MODULES = sorted((PLUGINS / "modules").glob("*.py"))
# An action of a module's name is that module's controller part, and is documented there.
PARTS = {path.stem for path in MODULES}
# `normal` is the name that Ansible gives what runs a module; no task calls it.
ACTIONS = [path for path in sorted((PLUGINS / "action").glob("*.py")) if path.stem not in {*PARTS, "normal"}]
DOCUMENTED = [
    *MODULES,
    *ACTIONS,
    *sorted((PLUGINS / "inventory").glob("*.py")),
    *sorted((PLUGINS / "callback").glob("*.py")),
]
SCENARIOS = ROOT / "tests" / "molecule"
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))

# A role that has a verb is a component role and must have all of them.
ALL_ROLES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
COMPONENT_ROLES = [
    role for role in ALL_ROLES if any((ROLES / role / "tasks" / f"{verb}.yml").is_file() for verb in VERBS)
]


def load(path: Path) -> Any:
    """Return a YAML file's content, as an object of the caller's own."""
    return parsed(path.read_text(encoding="utf-8"))


def parsed(text: str) -> Any:
    """Return the content of YAML; by libyaml, as Ansible reads it, which takes a tenth of the time."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files that git knows."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def text_of(path: Path) -> str:
    """Return a tracked file's text, or nothing for what is no text."""
    data = path.read_bytes()
    return "" if b"\0" in data[:4096] else data.decode("utf-8", "replace")


@cache
def syntax(path: Path) -> ast.Module:
    """Return a Python file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def constant(path: Path, name: str) -> str | None:
    """Return a module-level text of a Python file."""
    for node in syntax(path).body:
        if (
            isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
            and isinstance(node.value, ast.Constant)
        ):
            return str(node.value.value)
    return None


def tasks_of(content: Any, inherited: dict[str, Any] | None = None) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield every task with what it inherits from its blocks."""
    for item in content or []:
        known = {**(inherited or {}), **{key: item[key] for key in ("delegate_to", "become") if key in item}}
        known["when"] = [*known.get("when", []), *([str(item["when"])] if "when" in item else [])]
        blocks = [item[key] for key in ("block", "rescue", "always") if key in item]
        if not blocks:
            yield item, known
        for block in blocks:
            yield from tasks_of(block, known)


# fmt: off
_KEYWORDS = frozenset({
    "name", "when", "register", "loop", "loop_control", "vars", "delegate_to", "become", "become_user",
    "tags", "until", "retries", "delay", "changed_when", "failed_when", "no_log", "check_mode", "diff",
    "run_once", "notify", "environment", "throttle", "async", "poll", "args", "ignore_unreachable",
    "delegate_facts", "timeout", "debugger", "listen",
})
# fmt: on


def action_of(task: dict[str, Any]) -> str:
    """Return the module or action that a task calls."""
    names = [key for key in task if key not in _KEYWORDS and not key.startswith("with_")]
    assert len(names) == 1, f"cannot tell the action of {task}"
    return names[0]


def controller_actions() -> set[str]:
    """Return our own actions that connect to no machine."""
    mark = re.compile(r"_requires_connection = False|ControllerAction\)")
    return {path.stem for path in ACTIONS if mark.search(path.read_text(encoding="utf-8"))}
