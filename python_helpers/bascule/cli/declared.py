"""What an inventory declares for all, read without Ansible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import PlanError


def of_all(inventory: str, variable: str) -> tuple[Any, str]:
    """Return the value of a variable that an inventory declares for all, and the one file that says so."""
    if not inventory:
        raise PlanError(expected="an inventory: -i inventories/NAME", found="none")
    variables = Path(inventory) / "group_vars"
    found: list[tuple[str, Any]] = []
    try:
        for path in sorted([*variables.glob("all.yml"), *variables.glob("all/*.yml")]):
            said = yaml.safe_load(path.read_text(encoding="utf-8"))
            if isinstance(said, dict) and variable in said:
                found.append((str(path), said[variable]))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise PlanError(expected=f"variables in {variables}", found=" ".join(str(error).split())) from error
    if len(found) != 1:
        places = ", ".join(path for path, _ in found) or "none"
        raise PlanError(expected=f"{variable} in one file of {variables} (all.yml or all/*.yml)", found=places)
    return found[0][1], found[0][0]
