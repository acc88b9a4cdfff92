"""GO by typing the name of the site that shall be active afterwards: nobody types that by accident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import PlanError

FORWARD = "forward"
BACK = "back"


def destination(plan: Mapping[str, Any], direction: str) -> str:
    """Return the name of the site that `direction` leads to, as people say it (plan_sites.<key>.name)."""
    if direction not in (FORWARD, BACK):
        raise PlanError(expected=f"a direction: {FORWARD} or {BACK}", found=repr(direction))
    variable = "plan_target_site" if direction == FORWARD else "plan_source_site"
    key = plan.get(variable)
    sites = plan.get("plan_sites")
    site = sites.get(key) if isinstance(sites, Mapping) else None
    name = site.get("name") if isinstance(site, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise PlanError(
            expected=f"{variable} to name an entry of plan_sites that has a name",
            found=f"{variable} = {key!r}",
            state="nothing was changed",
            next_command="mend group_vars/all/plan.yml of the inventory",
        )
    return str(name)


def confirm(plan: Mapping[str, Any], direction: str, phase: str, typed: str) -> str:
    """Return the name of the site when it was typed as it stands in the plan (case does not matter), or refuse."""
    name = destination(plan, direction)
    if typed.strip().casefold() != name.casefold():
        raise PlanError(
            expected=f"the name of the site that shall be active after {phase}: {name}",
            found=repr(typed) if typed.strip() else "nothing",
            state="NO-GO: nothing was changed",
            next_command=f"run the same playbook again and type {name}, or add -e confirm={name}",
        )
    return name


def given_up(components: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what the decision gives up, as the components of the plan state it."""
    notes = {name: str(variables.get("component_go_note") or "").strip() for name, variables in components.items()}
    return [f"{name}: {note}" for name, note in notes.items() if note]
