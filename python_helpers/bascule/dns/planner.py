"""Decide what each name server shall be told. Takes what the servers answered, returns updates; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import BasculeError
from ..guard import state as rule
from ..guard.state import Epoch, GuardState, next_epoch
from ..system.domain_names import origin
from . import state as zone_state
from .records import Record, RRset, ServerView, serial_moved
from .state import ZoneState


class DnsRefused(BasculeError):
    """The zone is not as the switch of names left it; nothing was changed."""


@dataclass(frozen=True)
class Zone:
    """What is declared: the zone, the component that moves in it, its records and its two sides.

    quoteless: whether the state is written without quotes, as a provider may need it; either spelling is read.
    further: whether it is another zone than the component's own one.
    """

    name: str
    component: str
    records: Sequence[Record]
    sides: tuple[str, str]
    quoteless: bool = False
    further: bool = False


@dataclass(frozen=True)
class Change:
    """One atomic update of one zone at one server: all records and the state at once, or nothing.

    The server carries it out only while `before` and `state_before` are exactly what it holds.
    """

    host: str
    address: str
    before: tuple[RRset, ...]
    after: tuple[RRset, ...]
    state_before: str | None
    state_after: str
    zone: str = ""

    def lines(self, which: str) -> list[str]:
        """Return the records before or after as lines of a zone file."""
        return [line for rrset in (self.before if which == "before" else self.after) for line in rrset.lines()]


@dataclass(frozen=True)
class Survey:
    """What the servers of a zone said, and the newest state among them.

    newest: what is decided from. Where the component has several zones, its sides are the newest ones of all zones.
    own: the newest state in this zone.
    unreadable: why the state of a server cannot be read; such a server counts as one that does not answer.
    """

    views: Sequence[ServerView]
    states: dict[str, ZoneState | None]
    newest: ZoneState | None
    own: ZoneState | None
    unreachable: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, BasculeError] = field(default_factory=dict)

    @property
    def answering(self) -> list[ServerView]:
        """Return the servers that answered."""
        return [view for view in self.views if not view.error]


def survey(zone: Zone, views: Sequence[ServerView]) -> Survey:
    """Read the state out of every answer. A server whose state cannot be read says nothing: it is never guessed."""
    states: dict[str, ZoneState | None] = {}
    unreadable: dict[str, BasculeError] = {}
    told: list[ServerView] = []
    for view in views:
        text, said = view.state_text, view
        if not view.error:
            try:
                states[view.host] = None if text is None else zone_state.from_text(text, zone.component, zone.sides)
            except BasculeError as error:
                unreadable[view.host] = error
                said = replace(view, error=error.message())
        told.append(said)
    known = [state for state in states.values() if state is not None]
    newest = max(known, key=lambda s: (s.rank(), s.lowered_at or 0, not s.pending), default=None)
    return Survey(told, states, newest, newest, {view.host: view.error for view in told if view.error}, unreadable)


def together(surveys: Sequence[Survey]) -> list[Survey]:
    """Have every zone of a component decided from the newest sides that any of its zones knows.

    No update changes two zones. So a zone that a switch has not reached is like a server that it has not reached: it
    says where it stands itself, and the next switch in either direction brings it to where the component is. Each zone
    keeps its own times to live.
    """
    known = [found.own for found in surveys if found.own is not None]
    newest = max(known, key=ZoneState.rank, default=None)
    if newest is None:
        return list(surveys)
    return [
        replace(found, newest=replace(found.own or ZoneState(newest.sides), sides=newest.sides)) for found in surveys
    ]


def untaken(found: Survey) -> bool:
    """Whether a zone that answers was not taken over: none of its servers has a state."""
    return bool(found.answering) and not found.own


def unfinished(zone: Zone, found: Survey) -> list[str]:
    """Name where a switch that has begun was not seen to end: in a zone, or at a provider."""
    lines = [
        f"{host}: the switch of {zone.name} has begun there and was not seen to end"
        for host, state in sorted(found.states.items())
        if state and state.pending == "switch"
    ]
    if found.newest is None or found.newest.rank() == rule.ADOPTED:
        return lines
    if untaken(found):
        lines.append(
            f"{zone.name} was not taken over before the component moved to {found.newest.active()}: the cutover or the "
            "rollback takes it over where its records say one side"
        )
    elif found.own and found.own.rank() != found.newest.rank():
        lines.append(
            f"{zone.name} was not reached by the switch to {found.newest.active()} under epoch {found.newest.rank()}"
        )
    return lines


def guards(zones: Sequence[Zone], surveys: Sequence[Survey]) -> dict[str, GuardState]:
    """Return the guard of each side of the component; nothing before its first move where a zone was not taken over.

    It is open only where every zone says so: until then it is opening, and the same switch goes on, or a return.
    """
    newest = next((found.newest for found in surveys if found.newest), None)
    if newest is None or (newest.rank() == rule.ADOPTED and any(untaken(found) for found in surveys)):
        return {}
    halfway = any(unfinished(zone, found) for zone, found in zip(zones, surveys))
    return {
        name: replace(side, status=rule.OPENING) if halfway and side.status == rule.OPEN else side
        for name, side in newest.sides.items()
    }


def require_servers(found: Survey, allow_unreachable: bool) -> list[str]:
    """Refuse when a server did not answer, unless the way back may go on without it; return the warnings."""
    missing = "; ".join(f"{host}: {why}" for host, why in sorted(found.unreachable.items()))
    if not missing:
        return []
    if not allow_unreachable or not found.answering:
        if set(found.unreachable) == set(found.unreadable):
            raise next(iter(found.unreadable.values()))
        raise DnsRefused(
            expected="an answer from every authoritative server",
            found=missing,
            state="no record was changed",
            next_command="bring the server back, then run the same playbook again",
        )
    return [
        f"going on without {missing}. That server gives the old answer; the entrance it names forwards or shows"
        " the maintenance page, and its guard keeps it closed. Run the same playbook again when the server is back."
    ]


def differences(zone: Zone, views: Sequence[ServerView]) -> list[str]:
    """Name the records on which servers that answered disagree."""
    answering = [view for view in views if not view.error]
    found = []
    for record in zone.records:
        told = {view.host: _told(view.rrsets.get(record.key)) for view in answering}
        if len(set(told.values())) > 1:
            found.append(f"{record.key}: " + ", ".join(f"{host} says {text}" for host, text in sorted(told.items())))
    return found


def wrong_answers(zone: Zone, view: ServerView, side: str) -> list[str]:
    """Name the records of one server (or resolver) that do not say what `side` being active means."""
    if view.error:
        return [f"{view.host}: {view.error}"]
    found = []
    for record in zone.records:
        rrset = view.rrsets.get(record.key)
        if rrset is None or rrset.values != record.values[side]:
            wanted = ", ".join(sorted(record.values[side]))
            found.append(f"{view.host}: {record.key} says {_told(rrset)}, not {wanted}")
    return found


def foreign(zone: Zone, found: Survey, side: str) -> list[str]:
    """Name the records that are not as their server's own state says; `side` is meant where there is no state.

    A server that an interrupted switch has not reached is not among them: the next switch brings it up. Nor is a record
    that says what is declared for either side while a provider's change is halfway.
    """
    wrong = []
    for view in found.answering:
        own = found.states.get(view.host)
        if own and own.pending:
            wrong += _of_neither_side(zone, view)
            continue
        wrong += wrong_answers(zone, view, (own.active() if own else None) or side)
    return wrong


def _of_neither_side(zone: Zone, view: ServerView) -> list[str]:
    told = ((record, view.rrsets.get(record.key)) for record in zone.records)
    return [
        f"{view.host}: {record.key} says {_told(rrset)}, which is declared for neither side"
        for record, rrset in told
        if rrset is None or rrset.values not in record.values.values()
    ]


def halfway(found: Survey) -> list[str]:
    """Name the servers whose times to live a provider was changing when it was last heard of.

    Records that are halfway from one side to the other are no fault: the next switch brings them up.
    """
    return [
        f"{host}: {state.pending} has begun there and was not seen to end; run it again"
        for host, state in sorted(found.states.items())
        if state and state.pending not in ("", "switch")
    ]


def late(zone: Zone, found: Survey) -> list[str]:
    """Name the records of servers that were away when the records moved: they still send users where they were."""
    newest = found.newest
    side = newest.active() if newest else None
    if newest is None or side is None:
        return []
    away = [view for view in found.answering if (own := found.states.get(view.host)) and own.active() != side]
    return [text for view in away for text in wrong_answers(zone, view, side)]


def faults(zone: Zone, found: Survey, side: str) -> list[str]:
    """Name what keeps the records from being moved."""
    agreed = len({view.state_text for view in found.answering}) <= 1
    silent = [f"{host}: {why}" for host, why in sorted(found.unreachable.items())]
    return (
        silent
        + halfway(found)
        + foreign(zone, found, stands(zone, found) or side)
        + (differences(zone, found.views) if agreed else [])
    )


def behind(found: Survey, followers: Sequence[ServerView]) -> list[str]:
    """Name the secondaries that have not taken over the newest state: times to live were not lowered there yet."""
    if found.own is None:
        return []
    text = zone_state.to_text(found.own)
    return [
        f"{view.host}: it has serial {view.serial} and not the newest state of the zone yet; look at its transfers"
        for view in followers
        if not view.error and zone_state.quoted(view.state_text or "") != text
    ]


def unlisted(names: Sequence[str], asked: int) -> list[str]:
    """Say that the zone names more servers than are asked: nobody would see that one still gives the old answer."""
    if len(names) <= asked:
        return []
    return [
        f"the zone names {len(names)} servers ({', '.join(names)}), and {asked} are asked: list every one in "
        "dns_switchover_servers or dns_switchover_secondaries"
    ]


def one_primary(views: Sequence[ServerView]) -> list[str]:
    """Say which servers name the same primary in their SOA: one that forwards updates takes them as a primary does."""
    named: dict[str, list[str]] = {}
    for view in views:
        if view.primary:
            named.setdefault(view.primary, []).append(view.host)
    return [
        f"{' and '.join(hosts)} all name {primary} as the primary in their SOA: where one of them only forwards "
        "updates to another, list it in dns_switchover_secondaries"
        for primary, hosts in named.items()
        if len(hosts) > 1
    ]


def plan_prepare(zone: Zone, found: Survey, source: str, target: str, ttl: int, now: int) -> list[Change]:
    """Adopt the zone at every server and lower the times to live, remembering what they were."""
    base = found.newest or zone_state.adopt(zone.component, source, target)
    active = _active(base, found)
    _refuse_unreached(zone, found, base)
    _refuse_foreign(zone, found, active)
    highest = {r.key: max(view.rrsets[r.key].ttl for view in found.answering) for r in zone.records}
    goal = base
    # When a server has published what a run began and did not see to end, nobody knows: caches are counted anew.
    if any(value > ttl for value in highest.values()) or base.lowered_at is None or base.pending == "prepare":
        originals = {key: max(value, base.ttls.get(key, 0)) for key, value in highest.items()}
        goal = replace(base, ttls=originals, lowered_at=now)
    # A record that was declared since the others were lowered is lowered and remembered now.
    goal = replace(goal, ttls={**highest, **goal.ttls})
    wanted = {record.key: min(goal.ttls[record.key], ttl) for record in zone.records}
    return _changes(zone, found, goal, active, wanted)


def plan_switch(zone: Zone, found: Survey, source: str, target: str, decision: str, now: str) -> list[Change]:
    """Make the records say what `target` being active means, at every server that does not say so yet.

    A zone that was declared after the component had moved is taken over where its records say one side.
    """
    if stands(zone, found):
        ttls = {r.key: max(view.rrsets[r.key].ttl for view in found.answering) for r in zone.records}
        base = replace(found.newest or ZoneState({}), ttls=ttls, lowered_at=None)
    else:
        base = _prepared(zone, found)
    active = _active(base, found)
    goal = base
    if active != target:
        epoch: Epoch = next_epoch(base.sides[source], base.sides[target], decision)
        goal = zone_state.move(base, source, target, epoch, now)
    _refuse_foreign(zone, found, stands(zone, found) or active)
    return _changes(zone, found, goal, target, None)


def plan_retire(zone: Zone, found: Survey, stays: str) -> list[Change]:
    """Give the records the times to live back that they had before prepare, where they point to the side that stays."""
    base = _prepared(zone, found)
    active = _active(base, found)
    if active != stays:
        raise DnsRefused(
            expected=f"the records to point to {stays}",
            found=f"they point to {active}",
            state="no record was changed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    _refuse_foreign(zone, found, active)
    goal = replace(base, lowered_at=None)
    return _changes(zone, found, goal, active, dict(goal.ttls))


def seconds_until_forgotten(state: ZoneState, now: int, counted: int | None = None) -> int | None:
    """Return how long a cache may still hold an answer with an original time to live; None when none was lowered.

    counted: from when on no server gives such an answer, where that is another moment than the state names.
    """
    if state.lowered_at is None or not state.ttls:
        return None
    return max(0, (state.lowered_at if counted is None else counted) + max(state.ttls.values()) - now)


def first_seen(zone: Zone, found: Survey, captured: Mapping[str, Any], now: int) -> int:
    """Return since when the lowered times to live of a zone that a person changes were seen at all servers.

    The state was written down before the person acted, which may have been hours later. What prepare has seen and kept
    counts; before that it is now.
    """
    kept = (captured.get("seen") or {}).get(zone.name) or {}
    if found.own is None or kept.get("lowered_at") != found.own.lowered_at:
        return now
    return int(kept["seen_at"])


def unseen_lowering(zone: Zone, found: Survey, captured: Mapping[str, Any]) -> list[str]:
    """Say that nobody has kept since when the lowered times to live of a zone that a person changes were seen.

    Without that caches are counted from now on, for ever. A version before may have prepared the zone.
    """
    kept = (captured.get("seen") or {}).get(zone.name) or {}
    if found.own is None or found.own.lowered_at is None or kept.get("lowered_at") == found.own.lowered_at:
        return []
    return [
        f"{zone.name}: it is not kept since when its lowered times to live were seen at all servers; run "
        "20_prepare.yml again, which changes no record that is lowered"
    ]


def undeclared(zones: Sequence[Zone], captured: Mapping[str, Any]) -> list[str]:
    """Name the zones that were captured and are declared no more: nobody moves or looks at their records."""
    known = {origin(zone.name) for zone in zones}
    return [
        f"the zone {name} was captured and is declared no more: its records stay where they are. Declare it until all "
        "has moved or is back; it goes with the next capture"
        for name, kept in (captured.get("serials") or {}).items()
        if isinstance(kept, Mapping) and origin(str(name)) not in known
    ]


def unmoved(zone: Zone, found: Survey, active: str, captured: Mapping[str, Any]) -> list[str]:
    """Name the servers whose serial is still the captured one although the records have moved since.

    Serials were kept by server alone while a component had its own zone only.
    """
    if not captured.get("active") or captured["active"] == active:
        return []
    kept = captured.get("serials") or {}
    old = {} if zone.further else {host: serial for host, serial in kept.items() if not isinstance(serial, Mapping)}
    serials = kept.get(zone.name, old)
    return [
        f"{view.host}: serial {view.serial} has not moved since {serials[view.host]}"
        for view in found.answering
        if view.host in serials and view.serial is not None and not serial_moved(int(serials[view.host]), view.serial)
    ]


def _changes(zone: Zone, found: Survey, goal: ZoneState, side: str, ttls: dict[str, int] | None) -> list[Change]:
    text = zone_state.to_text(replace(goal, pending=""))
    text = zone_state.quoteless(text) if zone.quoteless else text
    changes = []
    for view in found.answering:
        before = tuple(view.rrsets[record.key] for record in zone.records)
        after = tuple(
            replace(rrset, values=record.values[side], ttl=(ttls or {}).get(record.key, rrset.ttl))
            for record, rrset in zip(zone.records, before)
        )
        if before != after or view.state_text != text:
            changes.append(Change(view.host, view.address, before, after, view.state_text, text, zone.name))
    return changes


def stands(zone: Zone, found: Survey) -> str:
    """Return the one side that the records of a zone say which was not taken over when the component moved.

    Nothing for any other zone, before the first move, and where the records say no side or not one alone.
    """
    if found.newest is None or found.newest.rank() == rule.ADOPTED or not untaken(found) or found.unreadable:
        return ""
    said = [side for side in zone.sides if not any(wrong_answers(zone, view, side) for view in found.answering)]
    return said[0] if len(said) == 1 else ""


def _refuse_unreached(zone: Zone, found: Survey, newest: ZoneState) -> None:
    """Lowering times to live moves no record: what a switch has not reached yet is no matter of prepare."""
    late = [
        host
        for host, state in sorted(found.states.items())
        if state and (state.rank() != newest.rank() or state.pending == "switch")
    ]
    if late:
        raise DnsRefused(
            expected=f"every server of {zone.name} to have ended the switch to {newest.active()}",
            found=f"not yet: {', '.join(late)}",
            state="no record was changed; preparing would move the records there",
            next_command="run the cutover or the rollback first: either brings all to one side; then 20_prepare.yml",
        )


def _refuse_foreign(zone: Zone, found: Survey, active: str) -> None:
    """Nobody else's change is overwritten: every server must say exactly what its own state says it was told last."""
    wrong = foreign(zone, found, active)
    if wrong:
        raise DnsRefused(
            expected="the records as they were declared and last set by Bascule",
            found="; ".join(wrong),
            state=f"somebody else changed the zone {zone.name}; no record was changed now",
            next_command="find out who changed it; put the record back or declare it in dns_switchover_records",
        )


def _prepared(zone: Zone, found: Survey) -> ZoneState:
    missing = [view.host for view in found.answering if found.states.get(view.host) is None]
    if found.newest is None or missing:
        raise DnsRefused(
            expected=f"the state of the switch in {zone.name} at every server",
            found=f"no TXT record _bascule at {', '.join(missing) or 'any server'}",
            state="no record was changed",
            next_command="ansible-playbook playbooks/20_prepare.yml",
        )
    return found.newest


def _active(state: ZoneState, found: Survey) -> str:
    side = state.active()
    if side is None:
        raise DnsRefused(
            expected="a side that the records point to",
            found="; ".join(s.describe() for s in state.sides.values()),
            state=f"servers that answered: {', '.join(view.host for view in found.answering)}",
            next_command="ansible-playbook playbooks/status.yml",
        )
    return side


def _told(rrset: RRset | None) -> str:
    return "nothing" if rrset is None else rrset.shown()
