"""Where the components of a play stand, out of what their roles' verb `state` has just registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..guard.state import GuardState
from ..run import chain, context, position
from ..run.chain import Entry
from ..run.io.journal import Journal, read_copies
from ..run.position import Side
from ..run.verbs import POINTING
from .action import Scope, plain


@dataclass(frozen=True)
class Component:
    """A component of the play: the side that is left, the side that is entered, as they were read."""

    name: str
    left: Side
    entered: Side
    points_only: bool
    retired: bool
    # The side that was given up as lost, and has not been closed since.
    given_up: str

    @property
    def unread(self) -> list[str]:
        """Return the sides that were not read."""
        return [side.host for side in (self.left, self.entered) if side.guard is None]


def read(scope: Scope) -> tuple[list[Component], Mapping[str, str]]:
    """Return the components of the play, and why the journal of a site could not be read, by site."""
    known, silent = _entries(scope)
    gone, given_up = position.retired(known), position.given_up(known)
    direction = scope.announced.direction
    found = []
    for name in scope.in_play:
        variables = scope.hostvars[name]
        about = context.announce(name, variables, "", "state", direction)
        guards = _registered(scope, name)
        left, entered = (
            Side(host, str(scope.hostvars[host].get("site", host)), guards.get(host))
            for host in (about.from_host, about.to_host)
        )
        pointing = variables["component_role"] in POINTING
        found.append(Component(name, left, entered, pointing, name in gone, given_up.get(name, "")))
    return found, silent


def is_alone(component: Component, silent: bool) -> bool:
    """Say whether a component is only let in again where it is; one that was given up as lost never is."""
    if component.retired or component.given_up == component.entered.host:
        return False
    return position.alone(component.entered, component.left, silent)


def obstacle(component: Component, silent: bool) -> str:
    """Return why a component that is not alone cannot move; `silent` when a site's journal does not answer."""
    if component.retired:
        return f"{component.name}: a decommission has begun to remove what a move needs, and there is no way back"
    if component.points_only:
        return ""
    back = component.left if component.given_up == component.left.host else component.entered
    if component.given_up and back.guard is not None:
        return (
            f"{component.name}: {back.host} was given up as lost and is back; it is closed and looked through first "
            f"(ansible-playbook playbooks/site_back.yml --limit {component.name})"
        )
    if component.unread:
        return f"{component.name}: no answer for {' and '.join(component.unread)}"
    return f"{component.name}: has to move" if silent else ""


def entries(scope: Scope) -> list[Entry]:
    """Return the journal's entries, here and at every site that answers."""
    return _entries(scope)[0]


def losses(scope: Scope) -> dict[tuple[str, str], str]:
    """Return what the roles' verb `state` has said about what a side may lack, by component and side."""
    found: dict[tuple[str, str], str] = {}
    for name in scope.in_play:
        variables = scope.hostvars[name]
        prefix = f"__{variables['component_role']}"
        for key in [key for key in variables if str(key).startswith(prefix)]:
            value = plain(variables[key])
            if isinstance(value, dict) and value.get("loss"):
                found |= {(name, guard.side): str(value["loss"]) for guard in position.find_guards(value)}
    return found


def _entries(scope: Scope) -> tuple[list[Entry], Mapping[str, str]]:
    journal = Journal.current()
    readings, silent = read_copies(journal.run, scope.journal_targets())
    return chain.merge(journal.read().entries, *(reading.entries for reading in readings.values())), silent


def _registered(scope: Scope, name: str) -> dict[str, GuardState]:
    variables = scope.hostvars[name]
    prefix = f"__{variables['component_role']}"
    read = [
        guard
        for key in [key for key in variables if str(key).startswith(prefix)]
        for guard in position.find_guards(plain(variables[key]))
    ]
    return {guard.side: guard for guard in read if guard.component == name}
