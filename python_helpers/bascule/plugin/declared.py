"""The gates that the plan declares, against the samples that its roles put to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible import constants

from ..errors import PlanError
from ..run import gates
from ..system.io import storage
from .action import Scope

TASK = "bascule_gate"


def must_be_right(scope: Scope) -> None:
    """Refuse a plan with a gate that no role of it samples, or with a limit that cannot be right."""
    known = sampled_by({str(scope.hostvars[name]["component_role"]) for name in scope.components})
    if found := gates.problems(scope.get("plan_gates"), known):
        raise PlanError(
            expected="gates of the plan that its roles put samples to, with limits that a sample can keep",
            found="; ".join(found),
            state="nothing was changed",
            next_command="mend plan_gates in group_vars/all/plan.yml of the inventory, then run this phase again",
        )


def sampled_by(roles: set[str]) -> dict[str, set[str]]:
    """Return the gates that roles put samples to, with their units; a unit that is only known in a run is any."""
    found: dict[str, set[str]] = {}
    anything: set[str] = set()
    for role in sorted(roles):
        for task in _tasks(role):
            name, unit = str(task.get("name", "")), str(task.get("unit", ""))
            found.setdefault(name, set()).add(unit)
            if "{{" in unit:
                anything.add(name)
    return {name: set() if name in anything else units for name, units in found.items()}


def _tasks(role: str) -> Iterator[Mapping[str, Any]]:
    for root in constants.DEFAULT_ROLES_PATH:
        directory = Path(root) / role / "tasks"
        if not storage.is_directory(directory):
            continue
        for path in sorted(storage.children(directory)):
            text = storage.read_text(path) or "" if path.suffix in (".yml", ".yaml") else ""
            if TASK in text:
                yield from _gates(yaml.safe_load(text))
        return


def _gates(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get(TASK), Mapping):
            yield value[TASK]
        for item in value.values():
            yield from _gates(item)
    elif isinstance(value, list):
        for item in value:
            yield from _gates(item)
