"""Who is on duty in which role. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROLES = ("lead", "system", "dba", "network", "tester")


def problems(declared: Any) -> list[str]:
    """Name what cannot be right in the plan's `plan_people`; nothing where none is declared."""
    if declared is None:
        return []
    if not isinstance(declared, Mapping):
        return [f"it is no table: {declared!r}"]
    found = [f"{role}: no role; there are {', '.join(ROLES)}" for role in declared if role not in ROLES]
    return found + [
        f"{role}: no name: {name!r}" for role, name in declared.items() if not isinstance(name, str) or not name.strip()
    ]


def names(declared: Any) -> dict[str, str]:
    """Return the name by role of a `plan_people` without problems."""
    return {str(role): str(name) for role, name in (declared or {}).items()}
