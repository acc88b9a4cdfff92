"""Is a component proved? Every reason why not, by component and figure: what nobody has looked at is not proved. Pure.

One judge for `verify`, for the decision that nothing returns, and for the report. It takes what verify has recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..run import chain

VERIFY = "verify"
# What bascule_record adds to the facts of a verification: the role, and under which epoch the active side was opened.
ROLE, OPENED = "role", "opened"
ADOPTED = "0.adopted"
# What opens a side: a proof speaks for what was open before it, and for nothing after.
OPENING = frozenset({"switch", "take_over", "reopen"})
# What a comparison did not look at, by name, each with the reason: no doubt by itself, but a reader has to see it.
NOT_COMPARED = "not_compared"
# What a return has left at the side that it closed, by name: in no log and in no dump. bascule_alone journals it.
LEFT_BEHIND = "left_behind"
# Of these, a figure of a role that is not known here has to have looked at something.
_LOOKED = ("_compared", "_checked", "_passed")
_NONE_OF = ("_different", "_not_proved")


@dataclass(frozen=True)
class Rule:
    """What the facts of a role have to say.

    `zero`: numbers that must be 0. `some`: groups of numbers, of each at least one above 0. `full`: what must not be
    empty. `nothing`: lists that must be empty. `true`: what must be true. `one_of`: the words that are no doubt.
    `told`: what was left out, each with the reason; nothing may be left out, but not silently.
    """

    zero: tuple[str, ...] = ()
    some: tuple[tuple[str, ...], ...] = ()
    full: tuple[str, ...] = ()
    nothing: tuple[str, ...] = ()
    true: tuple[str, ...] = ()
    one_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    told: tuple[str, ...] = ()


RULES = {
    "postgresql_replication": Rule(
        zero=("rows_different", "rows_not_proved", "fence_admitted"),
        some=(("rows_compared",), ("fence_refused",)),
        full=("digested",),
        nothing=("details", "not_proved"),
        true=("service",),
        # `off`: the plan declares none.
        one_of={"safety_dump": ("proved", "off")},
        told=(NOT_COMPARED,),
    ),
    "mysql_replication": Rule(
        zero=("tables_different",),
        some=(("rows_compared",), ("fence_refused",)),
        full=("active_side", "position"),
        nothing=("details", "active_faults"),
        told=(NOT_COMPARED,),
    ),
    "sqlite_store": Rule(
        zero=("tables_different",),
        some=(("rows_compared",), ("fence_refused",)),
        full=("active_side", "position"),
        nothing=("details", "active_faults"),
        told=(NOT_COMPARED,),
    ),
    "rsync_delta_sync": Rule(
        zero=("files_different", "files_not_proved"),
        some=(("files_compared",),),
        nothing=("not_proved",),
        # `off`: the plan declares nobody who writes from outside.
        one_of={"fence_from_outside": ("refused", "off")},
        told=(NOT_COMPARED,),
    ),
    "proxmox_guest": Rule(
        zero=("disks_different",),
        # A guest that is declared stateless has nothing to compare, nor has one of which nothing was moved.
        some=(("disks_compared", "disks_stateless", "disks_unmoved"),),
        full=("active_side", "asked"),
        nothing=("details",),
        told=(NOT_COMPARED,),
    ),
    "web_entrance": Rule(
        some=(("requests_passed",),), full=("active_side",), one_of={"passive_mode": ("maintenance", "forward")}
    ),
    "vpn_switchover": Rule(
        zero=("peers_different",),
        some=(("peers_compared",), ("fence_refused",)),
        full=("active_side",),
        nothing=("active_faults",),
        # `off`: the plan declares no trainer's machine.
        one_of={"active_mode": ("open",), "passive_mode": ("closed",), "reach": ("proved", "off")},
        told=(NOT_COMPARED,),
    ),
    "firewall": Rule(
        zero=("ports_wrong",),
        some=(("ports_checked",),),
        full=("active_side",),
        nothing=("active_faults", "details"),
        told=(NOT_COMPARED,),
    ),
    "dns_switchover": Rule(some=(("answers_checked",),), full=("active_side", "servers"), nothing=("details",)),
}


@dataclass(frozen=True)
class Doubt:
    """One reason why a component is not proved."""

    component: str
    what: str
    why: str

    @property
    def key(self) -> str:
        """Return how an override names it."""
        return f"{self.component}.{self.what}"

    def text(self) -> str:
        """Return one line."""
        return f"{self.key}: {self.why}"


@dataclass(frozen=True)
class Verdict:
    """The doubts that stand, and those that a person lets pass with a reason."""

    doubts: tuple[Doubt, ...]
    overridden: tuple[tuple[Doubt, str], ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is left in doubt."""
        return not self.doubts and not self.unused


def doubts(component: str, facts: Mapping[str, Any] | None) -> list[Doubt]:
    """Return everything that the facts of a component's last verification leave in doubt."""
    if not facts:
        return [Doubt(component, VERIFY, "nothing was verified")]
    rule = RULES.get(str(facts.get(ROLE))) or _unknown(facts)
    if facts.get(OPENED) == ADOPTED:
        # Nothing was switched yet, so that there need not be two sides to compare: only what was seen counts.
        rule = Rule(
            zero=tuple(name for name in rule.zero if facts.get(name) is not None),
            nothing=tuple(name for name in rule.nothing if name == "details"),
            true=rule.true,
        )
    found = [
        *(Doubt(component, name, why) for name in rule.zero if (why := _not_zero(facts.get(name)))),
        *(Doubt(component, name, why) for name in rule.nothing if (why := _not_nothing(facts, name))),
        *(
            Doubt(component, name, f"{_shown(facts.get(name))}, must be true")
            for name in rule.true
            if facts.get(name) is not True
        ),
    ]
    if facts.get(LEFT_BEHIND):
        found.append(
            Doubt(component, LEFT_BEHIND, f"not carried by the return: {'; '.join(map(str, facts[LEFT_BEHIND]))}")
        )
    if not facts.get(OPENED):
        found.append(Doubt(component, OPENED, "which switch was verified is not known"))
    for group in rule.some:
        found += _none_above_zero(component, group, facts)
    found += [Doubt(component, name, "nothing is recorded") for name in rule.full if not facts.get(name)]
    found += [Doubt(component, name, why) for name in rule.told if (why := _untold(facts.get(name)))]
    for name, words in rule.one_of.items():
        if facts.get(name) not in words:
            why = str(facts.get(f"{name}_reason") or "")
            said = f"{_shown(facts.get(name))}{f' ({why})' if why else ''}, must be {' or '.join(words)}"
            found.append(Doubt(component, name, said))
    return found


def asked(facts: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the figures that the roles of these components have to state."""
    found: set[str] = set()
    for one in facts:
        rule = RULES.get(str(one.get(ROLE))) or _unknown(one)
        found |= set(rule.zero)
        # Where another of a group was seen, the first one need not be.
        found |= {group[0] for group in rule.some if not any(_above_zero(one.get(name)) for name in group[1:])}
    return frozenset(found)


def left_out(component: str, facts: Mapping[str, Any]) -> list[str]:
    """Return lines about what the comparison of a component did not look at."""
    told = facts.get(NOT_COMPARED)
    return [f"{component}: {name}: {why}" for name, why in sorted(told.items())] if isinstance(told, Mapping) else []


def left_behind(entries: Iterable[Mapping[str, Any]], component: str) -> list[str]:
    """Return what the last return of a component has left behind, until it moves forward again.

    It was read before the freeze, so it counts from the switch of a return on.
    """
    lines: list[str] = []
    lost = False
    for entry in chain.in_order(entries):
        data = entry.get("data") or {}
        if str(entry.get("component")) != component:
            continue
        if entry["kind"] == "state" and data.get("event") == LEFT_BEHIND:
            lines, lost = [str(line) for line in (data.get("found") or {}).get(LEFT_BEHIND) or []], False
        elif entry["kind"] == "begin" and entry.get("verb") == "switch" and not data.get("check_mode"):
            if data.get("direction") == "back":
                lost = True
            else:
                lines = []
    return lines if lost else []


@dataclass
class _Verifying:
    """A verification that has not ended: its place in the journal, when it began, whether it was only tried."""

    place: int
    begun: str
    tried: bool
    told: bool = False


def last_proof(entries: Iterable[Mapping[str, Any]], component: str) -> tuple[Mapping[str, Any] | None, list[Doubt]]:
    """Return what the last verification of a component has recorded, and the doubts about it.

    It is older than what has opened a side, be it by a person's word; or a later one has come to no good end, whatever
    it had recorded until then.
    """
    facts: Mapping[str, Any] | None = None
    since = 0
    # Where what speaks against it began, and why it does.
    against: list[tuple[int, str]] = []
    # By controller and decision: two may verify side by side.
    running: dict[tuple[str, str], _Verifying] = {}
    for place, entry in enumerate(chain.in_order(entries)):
        if str(entry.get("component")) != component:
            continue
        data, time = entry.get("data") or {}, str(entry["time"])
        kind, verb, whose = entry["kind"], entry.get("verb"), (str(entry.get("controller")), str(entry.get("epoch")))
        mine = running.get(whose)
        if kind == "state" and data.get("event") == VERIFY and not (mine and mine.tried):
            facts, since = dict(data.get("found") or {}), mine.place if mine else place
            if mine:
                mine.told = True
        elif kind == "begin" and not data.get("check_mode") and verb in OPENING:
            against.append((place, f"it is older than the last {verb}, begun {time[:19]}Z"))
        elif kind == "begin" and verb == VERIFY:
            running[whose] = _Verifying(place, time, bool(data.get("check_mode")))
        elif kind == "end" and verb == VERIFY and mine:
            del running[whose]
            last = f"the last one, begun {mine.begun[:19]}Z,"
            if mine.tried:
                continue
            if data.get("result") != "ok":
                against.append((mine.place, f"{last} has failed: {data.get('message') or 'no reason given'}"))
            elif not mine.told:
                against.append((mine.place, f"{last} has recorded nothing"))
    against += [
        (one.place, f"the last one, begun {one.begun[:19]}Z, has come to no end")
        for one in running.values()
        if not one.tried
    ]
    # What began before the verification whose facts count was seen by it, or is over.
    why = max((one for one in against if one[0] >= since), default=None)
    return facts, [Doubt(component, VERIFY, why[1])] if facts is not None and why else []


def same_switch(component: str, facts: Mapping[str, Any] | None, opened: str) -> list[Doubt]:
    """Doubt a verification of another switch than the one under which the side that stays is open."""
    if not facts or facts.get(OPENED) == opened:
        return []
    return [Doubt(component, OPENED, f"epoch {facts.get(OPENED)} was verified, the side was opened under {opened}")]


def decide(found: Sequence[Doubt], overrides: Any) -> Verdict:
    """Let those doubts pass for which a person gives a reason; an override of what is no doubt is refused itself."""
    given = overrides if isinstance(overrides, Mapping) else {}
    reasons = {str(key): reason.strip() for key, reason in given.items() if isinstance(reason, str) and reason.strip()}
    keys = {doubt.key for doubt in found}
    return Verdict(
        tuple(doubt for doubt in found if doubt.key not in reasons),
        tuple((doubt, reasons[doubt.key]) for doubt in found if doubt.key in reasons),
        tuple(sorted(str(key) for key in given if str(key) not in keys or str(key) not in reasons)),
    )


def _unknown(facts: Mapping[str, Any]) -> Rule:
    """Judge a role that is not of this project by the names of its figures."""
    looked = tuple(name for name in facts if name.endswith(_LOOKED))
    return Rule(
        zero=tuple(name for name in facts if name.endswith(_NONE_OF)),
        some=(looked or ("compared",),),
        nothing=tuple(name for name in ("details",) if name in facts),
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _above_zero(value: Any) -> bool:
    return _number(value) and bool(value > 0)


def _not_zero(value: Any) -> str:
    if not _number(value):
        return f"{_shown(value)}: nobody has counted"
    return "" if value == 0 else f"{_shown(value)}, must be 0"


def _not_nothing(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    if not isinstance(value, (list, tuple)):
        return f"{_shown(value)}: nobody has looked"
    return "; ".join([*(str(one) for one in value[:3]), *([f"and {len(value) - 3} more"] if len(value) > 3 else [])])


def _untold(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{_shown(value)}: nobody has said what was not compared"
    unsaid = [str(name) for name, why in value.items() if not (isinstance(why, str) and why.strip())]
    return f"nobody has said why these were not compared: {', '.join(unsaid)}" if unsaid else ""


def _none_above_zero(component: str, group: tuple[str, ...], facts: Mapping[str, Any]) -> list[Doubt]:
    values: list[Any] = [facts.get(name) for name in group]
    if any(_above_zero(value) for value in values):
        return []
    return [Doubt(component, group[0], f"{_shown(values[0])}: nothing was looked at")]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
