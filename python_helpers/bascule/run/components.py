"""The declared components: what each is, where its two sides are, and what it depends on.

A declaration is checked as a whole: a person who mends it sees every contradiction at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ..errors import PlanError

# No machine stands behind a component: a task that is not delegated must fail, whatever the resolver says.
NO_MACHINE = "component-has-no-machine.invalid"
_LAYER_GROUP = "component_layer_"
_OWN = ("component_role", "source_host", "target_host", "depends_on")


@dataclass(frozen=True)
class Component:
    """One thing that moves."""

    name: str
    role: str
    source_host: str
    target_host: str
    depends_on: tuple[str, ...]
    layer: int
    variables: Mapping[str, Any] = field(default_factory=dict)

    def host_vars(self) -> dict[str, Any]:
        """Return the variables of the inventory host that stands for this component."""
        return {
            **self.variables,
            "component_role": self.role,
            "source_host": self.source_host,
            "target_host": self.target_host,
            "depends_on": list(self.depends_on),
            "component_layer": self.layer,
            "ansible_host": NO_MACHINE,
        }


def resolve(
    declared: Any, machines: Iterable[str], role_exists: Callable[[str], bool], source: str = "components.yml"
) -> list[Component]:
    """Check the whole declaration; return the components, layer by layer, in the declared order within a layer."""
    if not isinstance(declared, Mapping) or not declared:
        raise PlanError(expected=f"'components' in {source}: a name and variables for each", found=repr(declared))
    known = set(machines)
    problems: list[str] = []
    for name, entry in declared.items():
        problems += _entry_problems(str(name), entry, known, role_exists)
    names = {str(name) for name in declared}
    depends: dict[str, tuple[str, ...]] = {}
    for name, entry in declared.items():
        wanted = entry.get("depends_on") if isinstance(entry, Mapping) else None
        wanted = [] if wanted is None else wanted
        if not isinstance(wanted, list):
            problems.append(f"{name}: depends_on is not a list: {wanted!r}")
            wanted = []
        problems += [
            f"{name}: depends_on names {other!r}, which is not declared" for other in wanted if other not in names
        ]
        depends[str(name)] = tuple(str(other) for other in wanted if other in names)
    layers, cycle = layers_of(depends)
    if cycle:
        problems.append(f"depends_on goes round in a circle: {' -> '.join(cycle)}")
    if problems:
        raise PlanError(
            expected=f"components in {source} that can be ordered and reached",
            found=f"{len(problems)} problem(s): " + "; ".join(problems),
            state="nothing was read, nothing was changed",
            next_command=f"mend {source}, then: ansible-inventory --graph",
        )
    components = [
        Component(
            name=str(name),
            role=str(entry["component_role"]),
            source_host=str(entry["source_host"]),
            target_host=str(entry["target_host"]),
            depends_on=depends[str(name)],
            layer=layers[str(name)],
            variables={str(key): value for key, value in entry.items() if key not in _OWN},
        )
        for name, entry in declared.items()
    ]
    # sorted() keeps the declared order within a layer.
    return sorted(components, key=lambda component: component.layer)


def layers_of(depends_on: Mapping[str, Iterable[str]]) -> tuple[dict[str, int], list[str]]:
    """Return each name's layer (0 depends on nothing), or the names of one circle as the second value."""
    needed = {name: tuple(others) for name, others in depends_on.items()}
    layers: dict[str, int] = {}
    try:
        for name in TopologicalSorter(needed).static_order():
            layers[name] = 1 + max((layers[other] for other in needed.get(name, ())), default=-1)
    except CycleError as error:
        # It names what others depend on first.
        circle = [str(name) for name in error.args[1]][::-1]
        order = {name: place for place, name in enumerate(needed)}
        first = min(circle[:-1], key=order.__getitem__)
        at = circle.index(first)
        return {}, [*circle[at:-1], *circle[:at], first]
    return layers, []


def layer_group(layer: int) -> str:
    """Return the inventory group of a layer's components."""
    return f"{_LAYER_GROUP}{layer}"


def layers_in(groups: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return each component's layer, out of the inventory's groups."""
    return {
        str(host): int(str(group)[len(_LAYER_GROUP) :])
        for group, hosts in groups.items()
        if str(group).startswith(_LAYER_GROUP)
        for host in hosts
    }


def batches(hosts: Iterable[str], layer_of: Mapping[str, int], reverse: bool = False) -> list[int]:
    """Return the sizes of the serial batches for these hosts, which Ansible takes in inventory order (or reversed)."""
    sizes: dict[int, int] = {}
    for host in hosts:
        if host not in layer_of:
            raise PlanError(
                expected=f"{host} to be a component in a group {_LAYER_GROUP}N",
                found="no such group",
                next_command="ansible-inventory --graph",
            )
        sizes[layer_of[host]] = sizes.get(layer_of[host], 0) + 1
    return [sizes[layer] for layer in sorted(sizes, reverse=reverse)]


def upstream(name: str, depends_on: Mapping[str, Iterable[str]]) -> set[str]:
    """Return everything that `name` depends on, directly or not."""
    found: set[str] = set()
    waiting = list(depends_on.get(name, ()))
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += depends_on.get(other, ())
    return found


def _entry_problems(name: str, entry: Any, known: set[str], role_exists: Callable[[str], bool]) -> list[str]:
    if not isinstance(entry, Mapping):
        return [f"{name}: no variables"]
    problems = []
    if not name.isidentifier():
        problems.append(f"{name!r}: a component's name is a word of letters, digits and underscores")
    if name in known:
        problems.append(f"{name}: a machine has the same name")
    role = entry.get("component_role")
    if not role:
        problems.append(f"{name}: component_role is missing")
    elif not role_exists(str(role)):
        problems.append(f"{name}: there is no role {str(role)!r}")
    for key in ("source_host", "target_host"):
        host = entry.get(key)
        if not host:
            problems.append(f"{name}: {key} is missing")
        elif host not in known:
            problems.append(f"{name}: {key} {str(host)!r} is not a machine of the inventory")
    if entry.get("source_host") and entry.get("source_host") == entry.get("target_host"):
        problems.append(f"{name}: source_host and target_host are the same machine")
    reserved = sorted(
        key for key in entry if str(key).startswith("bascule_") or key in ("ansible_host", "component_layer")
    )
    problems += [f"{name}: {key} is reserved" for key in reserved]
    return problems
