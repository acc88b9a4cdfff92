"""Where the components of a play stand, out of what their roles' verb `state` has just registered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BasculeError
from ..guard import state as rule
from ..guard.state import GuardState
from ..report import proof
from ..report.overrides import ALLOWED
from ..run import chain, context, position
from ..run.chain import Entry
from ..run.io.journal import Journal, read_copies
from ..run.position import Side
from ..run.verbs import POINTING
from .action import Scope, journal_entry
from .values import plain

# Under this key a role's verb `state` names what would stop a move after it is frozen.
STOPS = "stops"


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
    # What its role's verb `state` has named that would stop its move after it is frozen.
    stops: tuple[str, ...] = ()
    # What its role's verb `state` has not heard of, where it only points.
    unheard: tuple[str, ...] = ()

    @property
    def unread(self) -> list[str]:
        """Return the sides that were not read."""
        return [side.host for side in (self.left, self.entered) if side.guard is None]


def journalled(scope: Scope) -> tuple[list[Entry], Mapping[str, str]]:
    """Return the entries of all copies of the run's journal, and why that of a site could not be read, by site."""
    journal = Journal.current()
    readings, silent = read_copies(journal.run, scope.journal_targets())
    return list(chain.merge(journal.read().entries, *(reading.entries for reading in readings.values()))), silent


def read(scope: Scope) -> tuple[list[Component], Mapping[str, str]]:
    """Return the components of the play, and why the journal of a site could not be read, by site."""
    entries, silent = journalled(scope)
    gone, given_up = position.retired(entries), position.given_up(entries)
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
        stops = tuple(_lines(scope, STOPS).get(name, ()))
        unheard = tuple(_unheard(scope, name)) if pointing else ()
        found.append(Component(name, left, entered, pointing, name in gone, given_up.get(name, ""), stops, unheard))
    return found, silent


def must_be_proved(scope: Scope, entries: Iterable[Mapping[str, Any]], opened: Mapping[str, str]) -> list[str]:
    """Refuse unless every component of the play was verified since its last switch and is proved.

    `opened` says under which epoch the side that stays is open, by component. Returns what a person lets pass, and why.
    """
    known = list(entries)
    found = []
    for name in scope.in_play:
        facts, stale = proof.last_proof(known, name)
        found += [*proof.doubts(name, facts), *stale]
        if name in opened:
            found += proof.same_switch(name, facts, opened[name])
    verdict = proof.decide(found, scope.get("proof_overrides"))
    passed = [f"{doubt.text()}{ALLOWED}{reason}" for doubt, reason in verdict.overridden]
    if passed:
        journal_entry(Journal.current(), "decision", scope.announced, {"decision": "proof override", "passed": passed})
    if not verdict.ok:
        example = verdict.doubts[0].key if verdict.doubts else "COMPONENT.FIGURE"
        odd = [f"an override of {key}, which is not in doubt or has no reason" for key in verdict.unused]
        raise BasculeError(
            expected="every component proved since its last switch",
            found="; ".join([*(doubt.text() for doubt in verdict.doubts), *odd]),
            state="nothing was changed",
            next_command="mend the cause, then ansible-playbook playbooks/70_verify.yml; or let it pass with a reason: "
            f'-e \'{{"proof_overrides": {{"{example}": "why"}}}}\'',
        )
    return passed


def must_be_settled(scope: Scope, entries: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """Refuse unless every component of the play is open where it stays, closed elsewhere, and proved.

    Args:
        entries: the journal's, of all copies.

    Returns:
        Under which epoch each is open, and what a person lets pass, with why.
    """
    components, _ = read(scope)
    # What is silent could not be retired, and the others would be by then.
    found = [(c.name, position.unsettled(c.entered, c.left, c.retired) or "; ".join(c.unheard)) for c in components]
    if wrong := [f"{name}: {why}" for name, why in found if why]:
        raise BasculeError(
            expected="every component open to users at the site that stays, and closed at the other",
            found="; ".join(wrong),
            state="nothing was removed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    opened = {c.name: str((c.entered.guard.opened if c.entered.guard else "") or "") for c in components}
    return opened, must_be_proved(scope, entries, opened)


def told(scope: Scope, key: str, closed: str = "") -> dict[str, str]:
    """Return what the roles' verb `state` says under this key of a side that is open, by component that says it.

    Args:
        scope: the action's.
        key: what is asked for.
        closed: the key under which a side that is closed says it of itself; none where it says nothing.
    """
    found: dict[str, str] = {}
    for name in scope.in_play:
        variables = scope.hostvars[name]
        prefix = f"__{variables['component_role']}"
        for registered in [plain(variables[one]) for one in variables if str(one).startswith(prefix)]:
            if not isinstance(registered, dict):
                continue
            guards = position.find_guards(registered)
            for name_of, status in ((key, rule.OPEN), (closed, rule.CLOSED)):
                if name_of not in registered or not any(guard.status == status for guard in guards):
                    continue
                value = registered[name_of] or ""
                text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
                found[name] = text or found.get(name, "")
    return found


def left_out(scope: Scope, entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return lines about what the last verifications of the play's components did not look at."""
    known = list(entries)
    return [line for name in scope.in_play for line in proof.left_out(name, proof.last_proof(known, name)[0] or {})]


def opened_under(scope: Scope, name: str) -> str:
    """Return the epoch under which the one open side of a component was opened; empty when there is not one."""
    opened = [one for one in _registered(scope, name).values() if one.status == rule.OPEN]
    return str(opened[0].opened or "") if len(opened) == 1 else ""


def untouched(scope: Scope, name: str) -> bool:
    """Whether a component serves at the side that would be left, as the guards say that its check has just read.

    What is not known counts as untouched: then more is asked for, not less.
    """
    about = context.announce(name, scope.hostvars[name], "", "check", scope.announced.direction)
    guards = _registered(scope, name)
    left, entered = guards.get(about.from_host), guards.get(about.to_host)
    if entered is not None and entered.status in (rule.OPEN, rule.OPENING):
        return False
    return left is None or (left.status == rule.OPEN and not left.frozen)


def is_alone(component: Component, silent: bool) -> bool:
    """Say whether a component is only let in again where it is; one that was given up as lost never is."""
    if component.retired or component.given_up == component.entered.host:
        return False
    return position.alone(component.entered, component.left, silent)


def obstacle(component: Component, silent: bool) -> str:
    """Return why a component that is not alone cannot move; `silent` when a site's journal does not answer."""
    if component.points_only:
        return ""
    if component.retired:
        return f"{component.name}: a decommission has begun to remove what a move needs, and there is no way back"
    back = component.left if component.given_up == component.left.host else component.entered
    if component.given_up and back.guard is not None:
        return (
            f"{component.name}: {back.host} was given up as lost and is back; it is closed and looked through first "
            f"(ansible-playbook playbooks/site_back.yml --limit {component.name})"
        )
    if component.unread:
        return f"{component.name}: no answer for {' and '.join(component.unread)}"
    if component.stops:
        return f"{component.name}: {'; '.join(component.stops)}"
    return f"{component.name}: has to move" if silent else ""


def entries(scope: Scope) -> list[Entry]:
    """Return the journal's entries, here and at every site that answers."""
    return journalled(scope)[0]


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


def left_behind(scope: Scope) -> dict[str, list[str]]:
    """Return what the roles' verb `state` has said that a return would leave behind, by component that was asked."""
    return _lines(scope, proof.LEFT_BEHIND)


def _lines(scope: Scope, key_wanted: str) -> dict[str, list[str]]:
    """Return the lines under this key in what the roles' verb `state` has registered, by component that has it."""
    found: dict[str, list[str]] = {}
    for name in scope.in_play:
        variables = scope.hostvars[name]
        prefix = f"__{variables['component_role']}"
        for key in [key for key in variables if str(key).startswith(prefix)]:
            value = plain(variables[key])
            if isinstance(value, dict) and isinstance(value.get(key_wanted), list):
                found.setdefault(name, []).extend(str(line) for line in value[key_wanted])
    return found


def _unheard(scope: Scope, name: str) -> list[str]:
    """Return what the verb `state` of a role that only points has not heard: servers that are silent, whole zones."""
    variables = scope.hostvars[name]
    prefix = f"__{variables['component_role']}"
    found: list[str] = []
    for key in [key for key in variables if str(key).startswith(prefix)]:
        value = plain(variables[key])
        if isinstance(value, dict) and "guards" in value:
            silent = value.get("silent")
            found += [f"{host}: {why}" for host, why in silent.items()] if isinstance(silent, dict) else []
            found += [str(value["unseen"])] if value.get("unseen") else []
    return list(dict.fromkeys(found))


def _registered(scope: Scope, name: str) -> dict[str, GuardState]:
    variables = scope.hostvars[name]
    prefix = f"__{variables['component_role']}"
    read = [
        guard
        for key in [key for key in variables if str(key).startswith(prefix)]
        for guard in position.find_guards(plain(variables[key]))
    ]
    # What earlier verbs of the same playbook have registered is still there: the newest state of each side counts.
    ordered = sorted((guard for guard in read if guard.component == name), key=_age)
    return {guard.side: guard for guard in ordered}


def _age(guard: GuardState) -> tuple[bool, int, str, bool]:
    promised = guard.promised
    return (
        promised is not None,
        promised.number if promised else 0,
        promised.decision if promised else "",
        guard.status in (rule.OPEN, rule.CLOSED),
    )
