"""Every module and plugin is documented, with examples that parse and use it, and is used by a test."""

from __future__ import annotations

import ast
import importlib.util
import runpy
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bascule.plugin import module

from .tree import ACTIONS, DOCUMENTED, MODULES, PLAYBOOKS, PLUGINS, ROOT, constant, parsed, syntax

by_plugin = pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: f"{path.parent.name}-{path.stem}")


def loaded(path: Path) -> Any:
    """Return a plugin's module."""
    spec = importlib.util.spec_from_file_location(f"loaded_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


FRAGMENTS = loaded(PLUGINS / "doc_fragments" / "bascule.py").ModuleDocFragment


def documentation(path: Path) -> dict[str, Any]:
    """Return the plugin's DOCUMENTATION with the fragments that it extends, as ansible-doc shows it."""
    text = constant(path, "DOCUMENTATION")
    assert text, f"{path.name} has no DOCUMENTATION"
    found: dict[str, Any] = parsed(text)
    for name in found.pop("extends_documentation_fragment", []):
        if not name.startswith("bascule."):
            # One of Ansible's own.
            continue
        fragment = parsed(getattr(FRAGMENTS, name.removeprefix("bascule.").upper()))
        found = {**fragment, **found, "options": {**fragment["options"], **(found.get("options") or {})}}
    return found


def specification(path: Path) -> dict[str, Any] | None:
    """Return the argument spec that a module or an action really has; None for an action that checks none."""
    if path.parent.name == "action":
        found: dict[str, Any] | None = getattr(loaded(path).ActionModule, "ARGUMENTS", None)
        return found
    given: list[dict[str, Any]] = []
    with mock.patch.object(module, "run_module", lambda spec, main, **_: given.append(spec)):
        runpy.run_path(str(path), run_name="__main__")
    return given[0]


def compare(where: str, documented: dict[str, Any], real: dict[str, Any]) -> None:
    """See that options are documented as they are."""
    assert set(documented) == set(real), where
    for name, option in real.items():
        said = documented[name]
        for key, nothing in (("type", "str"), ("required", False), ("default", None), ("choices", None)):
            value = option.get(key, nothing)
            value = list(value) if isinstance(value, tuple) else value
            assert said.get(key, nothing) == value, f"{where}.{name}: {key} is {value}"
        if "options" in option:
            compare(f"{where}.{name}", said["suboptions"], option["options"])


@by_plugin
def test_it_is_documented(path: Path) -> None:
    found = documentation(path)
    assert found.get("module", found.get("name")) == path.stem
    assert found.get("short_description")
    assert found.get("description")
    for name, option in (found.get("options") or {}).items():
        assert option.get("description"), f"{path.name}: {name} has no description"
        assert option.get("type"), f"{path.name}: {name} has no type"


@pytest.mark.parametrize("path", [*MODULES, *ACTIONS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_its_examples_parse_and_use_it(path: Path) -> None:
    text = constant(path, "EXAMPLES")
    assert text, f"{path.name} has no EXAMPLES"
    tasks = parsed(text)
    assert isinstance(tasks, list)
    # What an action calls is shown as the action is used.
    through = {action.stem for action in ACTIONS if f'"{path.stem}"' in action.read_text(encoding="utf-8")}
    assert any({path.stem, *through} & set(task) for task in tasks), f"no example uses {path.stem}"
    options = set(documentation(path).get("options") or {})
    for task in tasks:
        assert task.get("name"), f"{path.name}: an example has no name"
        unknown = set(task.get(path.stem) or {}) - options
        assert not unknown, f"{path.name}: an example uses unknown options {unknown}"
    assert constant(path, "RETURN") is not None, f"{path.name} has no RETURN"
    parsed(constant(path, "RETURN") or "")


@pytest.mark.parametrize("path", [*MODULES, *ACTIONS], ids=lambda path: path.stem)
def test_its_arguments_are_documented_as_they_are(path: Path) -> None:
    real = specification(path)
    if real is not None:
        compare(path.stem, documentation(path).get("options") or {}, real)


@cache
def used_by_tests() -> tuple[str, ...]:
    """Return the text of all that tests run: themselves, and roles and playbooks that they come through."""
    places = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "tests").rglob("*.yml")]
    places += [
        task
        for task in (ROOT / "roles").rglob("tasks/*.yml")
        if (ROOT / "tests" / "molecule" / task.relative_to(ROOT / "roles").parts[0] / "molecule.yml").is_file()
    ]
    written = "".join(place.read_text(encoding="utf-8") for place in places if place.suffix == ".py")
    places += [playbook for playbook in PLAYBOOKS if f"playbooks/{playbook.name}" in written]
    return tuple(place.read_text(encoding="utf-8") for place in places if place != Path(__file__))


@pytest.mark.parametrize("path", [*MODULES, *ACTIONS], ids=lambda path: path.stem)
def test_a_test_uses_it(path: Path) -> None:
    """Directly, or through a role whose scenario runs it."""
    called_by = [action for action in ACTIONS if f'"{path.stem}"' in action.read_text(encoding="utf-8")]
    wanted = [path.stem, *(action.stem for action in called_by)]
    assert any(name in text for text in used_by_tests() for name in wanted)


@pytest.mark.parametrize("path", [*MODULES, *ACTIONS], ids=lambda path: path.stem)
def test_no_result_has_a_key_by_which_ansible_calls_its_host_unreachable(path: Path) -> None:
    written = {
        key.value
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert "unreachable" not in written, "Ansible takes a task whose result has this key for one whose host is silent"


def test_modules_are_thin() -> None:
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) < 200, f"{path.name} is no thin module"
