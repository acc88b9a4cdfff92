"""What the action plugins need to know about a component, out of Ansible's host variables; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import PlanError
from ..system.ssh import Target
from . import verbs

# The facts bascule_begin returns, and what the other actions read back.
FACTS = ("bascule_phase", "bascule_verb", "bascule_direction", "bascule_from", "bascule_to")


@dataclass(frozen=True)
class Announced:
    """The verb that bascule_begin announced for a component."""

    component: str
    phase: str
    verb: str
    direction: str
    from_host: str
    to_host: str


def declared_sides(component: str, variables: Mapping[str, Any]) -> tuple[str, str]:
    """Return (source host, target host) of a component."""
    missing = [key for key in ("component_role", "source_host", "target_host") if not variables.get(key)]
    if missing:
        raise PlanError(
            expected=f"{component} to be a component with component_role, source_host and target_host",
            found=f"no {', '.join(missing)}",
            state="nothing was changed",
            next_command="ansible-inventory --graph components",
        )
    return str(variables["source_host"]), str(variables["target_host"])


def announce(component: str, variables: Mapping[str, Any], phase: str, verb: str, direction: str) -> Announced:
    """Return what is about to be done to the component."""
    source, target_host = declared_sides(component, variables)
    from_host, to_host = verbs.sides(direction, source, target_host)
    return Announced(component, phase, verbs.verb(verb).name, direction, from_host, to_host)


def announced(component: str, variables: Mapping[str, Any]) -> Announced:
    """Return what bascule_begin announced."""
    values = [variables.get(name) for name in FACTS]
    if not all(isinstance(value, str) and value for value in values):
        raise PlanError(
            expected="bascule_begin to have announced a verb in this play",
            found=f"no announcement for {component}",
            next_command="call bascule_begin before the role, bascule_end after it",
        )
    return Announced(component, *map(str, values))


def dependencies(components: list[str], hostvars: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what each component depends on."""
    return {name: [str(other) for other in hostvars[name].get("depends_on") or []] for name in components}


def journal_targets(declared: Any, hostvars: Mapping[str, Any], reach: Callable[[str], Target]) -> dict[str, Target]:
    """Return how to reach the journal host of each site; `declared` is plan_journal_hosts, `reach` reaches a machine.

    Where a site has several, the others are spares of the first.
    """
    declared = declared or {}
    if not isinstance(declared, Mapping):
        raise PlanError(expected="plan_journal_hosts: a host, or several, for each site", found=repr(declared))
    named = {
        str(site): list(hosts) if isinstance(hosts, (list, tuple)) else [hosts] for site, hosts in declared.items()
    }
    unknown = [
        f"{site}: {host or 'none'}" for site, hosts in named.items() for host in hosts or [""] if host not in hostvars
    ]
    if unknown:
        raise PlanError(
            expected="plan_journal_hosts to name machines of the inventory", found=", ".join(map(str, unknown))
        )
    return {
        site: replace(reach(str(first)), spares=tuple(reach(str(spare)) for spare in spares))
        for site, (first, *spares) in named.items()
    }
