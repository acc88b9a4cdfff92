"""The way there and the way back of a real run, from the entries of its journal alone. Pure.

A leg is all that was moved in one direction until something was moved in the other one: a move that broke off and went
on is one leg. A run may go there and back several times; its report is about the last way there and the way back from
it. What was only tried with --check, or refused before anything was frozen, is no move.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..run import chain
from ..run.order import VERBS
from ..run.progress import OK
from ..run.verbs import AWAY, BACK, FORWARD
from . import proof
from .figures import LegInput, leg_figures
from .overrides import gates_passed, proofs_passed, words_given
from .proof import Doubt
from .records import ClientAccount, Leg, Lookup, ProbeAccount
from .scans import full_scans
from .windows import leg_window

Entry = Mapping[str, Any]
# What moves a component: the verbs of a window, and a person's word where a site is lost.
MOVING = (*VERBS, *sorted(proof.OPENING - {*VERBS}))
# Those that begin a move: what is only carried over beforehand stops nobody.
_FIRST = frozenset(MOVING) - {"sync"}
FORWARD_LEG, BACK_LEG = "forward", "back"


@dataclass(frozen=True)
class Moved:
    """One leg: its bounds in wall time, what was verified in it by component, and what did not come through.

    span: wall time of the first move's begin and of the last thing that moved. inside: the entries of the leg, what was
    prepared for it included. stale: doubts about when, and after which switch, something was verified. broken: the
    verbs that did not come through, in words. passed: the doubts that a person let pass. words: those of
    a person about what was lost.
    """

    leg: Leg
    facts: Mapping[str, Mapping[str, Any]]
    span: tuple[float, float] = (0.0, 0.0)
    inside: Sequence[Entry] = ()
    stale: Sequence[Doubt] = ()
    broken: Sequence[str] = ()
    passed: Sequence[str] = ()
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Outside:
    """What somebody outside has measured: the accounts, the look-up after each leg, and the legs' bounds.

    The look-up speaks for the writes until it began, so who has looked up says when each leg ended.
    """

    client: ClientAccount
    probes: ProbeAccount
    data: ClientAccount
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def read(entries: Iterable[Entry]) -> dict[str, Moved]:
    """Return the legs that the entries tell of, `forward` and `back`; nothing where nothing has moved."""
    known = _real(entries)
    sources = _sources(known)
    # Each leg's name, and the places of its first and last move.
    moves: list[tuple[str, int, int]] = []
    for place, entry in enumerate(known):
        if entry["verb"] in _FIRST and entry["kind"] == "begin":
            name = BACK_LEG if _leads_back(entry, sources) else FORWARD_LEG
            if not moves or moves[-1][0] != name:
                moves.append((name, place, place))
            moves[-1] = (name, moves[-1][1], place)
    if not moves:
        return {}
    last = moves[-1:] if moves[-1][0] == FORWARD_LEG else moves[-2:]
    before = moves[: -len(last)]
    # What was prepared since the way back before belongs to the way there.
    start = _end_of(known, before[-1][2]) if before else 0
    found = {}
    for number, (name, begun, _) in enumerate(last):
        until = last[number + 1][1] if number + 1 < len(last) else len(known)
        ended = _at(known[until]) if until < len(known) else max(map(_at, known[begun:])) + 1.0
        found[name] = _moved(Leg(name, _at(known[start]), ended), known, start, begun, until)
        start = until
    return found


def figures(
    moved: Moved,
    expected: Mapping[str, Any],
    outside: Outside | None = None,
    carried: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Return the figures of a leg.

    Args:
        moved: the leg.
        expected: how many seconds the plan expects of each phase, by its name.
        outside: what somebody outside has measured; without it the figures say that nobody has.
        carried: writes acknowledged before this leg that must still be found at its end.
    """
    inside = moved.inside
    short = _too_short(moved, outside) if outside else []
    if short:
        # What was not measured over the whole move says nothing about it.
        outside = None
    lines = [chain.line(entry) for entry in inside]
    own = moved.leg
    measured = outside or Outside(ClientAccount(), ProbeAccount(), ClientAccount())
    return leg_figures(
        LegInput(
            leg=seen_leg(moved, outside),
            client=measured.client,
            probes=measured.probes,
            lookup=measured.lookups.get(own.name),
            facts=moved.facts if any(moved.facts.values()) else {},
            phases=_phases(inside, expected),
            carried=carried,
            data=measured.data,
            scans=full_scans(lines, own),
            window=leg_window(lines, own),
            outside=outside is not None,
            asked=proof.asked(moved.facts.values()),
            stale=moved.stale,
            passed=moved.passed,
            overrides=[*moved.words, *gates_passed(inside), *moved.passed],
            broken=[*moved.broken, *short],
        )
    )


def seen_leg(moved: Moved, outside: Outside | None) -> Leg:
    """Return the leg with the bounds that who has measured outside gives it."""
    bounds = outside.bounds.get(moved.leg.name) if outside else None
    return Leg(moved.leg.name, *bounds) if bounds else moved.leg


def _too_short(moved: Moved, outside: Outside) -> list[str]:
    """Return why what was measured outside does not cover the leg from its first move to its last thaw, in words."""
    first, last = moved.span
    told = {
        "the client's account": [(op.sent, op.answered, outside.client.offset) for op in outside.client.operations],
        "the prober's account": [(one.start, one.end, outside.probes.offset) for one in outside.probes.probes],
        "the account of the database's client": [
            (op.sent, op.answered, outside.data.offset) for op in outside.data.operations
        ],
    }
    spans = {
        name: (min(at - offset for at, _, offset in seen), max(at - offset for _, at, offset in seen))
        for name, seen in told.items()
        if seen
    }
    if moved.leg.name in outside.bounds:
        spans["the bounds given for this leg"] = outside.bounds[moved.leg.name]
    return [
        f"{name}, {_clock(begin)} to {_clock(end)}, does not cover the moves, {_clock(first)} to {_clock(last)}"
        for name, (begin, end) in spans.items()
        if begin > first or end < last
    ]


def _clock(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def active(entries: Iterable[Entry]) -> dict[str, str]:
    """Return at which host users were let in last, by component that was moved; empty where they were not."""
    return {
        name: str(begin["data"].get("to") or "") if not why and begin["verb"] in ("thaw", "reopen") else ""
        for name, (begin, why) in _last(_real(entries)).items()
    }


def _moved(leg: Leg, known: Sequence[Entry], start: int, begun: int, until: int) -> Moved:
    """Return what the entries since the leg's first move tell; a proof is judged by all that came before as well."""
    entries, so_far = known[begun:until], known[:until]
    last = _last(entries)
    facts, stale = {}, []
    for name in last:
        recorded = any(
            entry["component"] == name and entry["kind"] == "state" and entry["data"].get("event") == proof.VERIFY
            for entry in entries
        )
        found, doubts = proof.last_proof(so_far, name) if recorded else (None, [])
        facts[name] = found or {}
        stale += [*doubts, *_of_another_switch(name, found, so_far)]
        stale += _begun_before(name, so_far, begun) if recorded else []
    broken = [f"{begin['phase']}/{begin['verb']} of {name} {why}" for name, (begin, why) in sorted(last.items()) if why]
    moving = [_at(entry) for entry in entries if entry["verb"] in MOVING]
    span = (min(moving), max(moving))
    decisions = {_whose(entry) for entry in entries if entry["verb"] in MOVING}
    words = words_given(entry for entry in known if _whose(entry) in decisions)
    return Moved(leg, facts, span, known[start:until], stale, broken, proofs_passed(entries), words)


def _of_another_switch(name: str, facts: Mapping[str, Any] | None, entries: Iterable[Entry]) -> list[Doubt]:
    """Doubt a verification of another switch than the component's last one.

    A switch that was interrupted goes on under the epoch of its first decision, and one that finds its side open
    already opens nothing: each of those that led there since the component was last elsewhere is the same switch.
    """
    where = target = way = ""
    toward: dict[str, list[str]] = {}
    for entry in entries:
        if entry["component"] != name or entry["verb"] not in MOVING:
            continue
        if entry["kind"] == "begin":
            target, way = str(entry["data"].get("to") or ""), str(entry["data"].get("direction"))
            toward.setdefault(target, []).append(str(entry["epoch"]))
        elif entry["verb"] in proof.OPENING and entry["data"].get("result") == OK and target != where:
            if not where and way == BACK:
                # It was never left, so that nothing was opened.
                continue
            where, toward = target, {target: toward.get(target, [])}
    allowed = toward.get(where, []) if where else []
    opened = str((facts or {}).get(proof.OPENED) or "")
    if not facts or not allowed or opened.partition(".")[2] in allowed:
        return []
    return proof.same_switch(name, facts, f"decision {allowed[-1]}")


def _begun_before(name: str, entries: Sequence[Entry], begun: int) -> list[Doubt]:
    """Doubt the last verification where it began before the leg did: it looked at what was to be moved."""
    when: dict[str, int] = {}
    last: int | None = None
    for place, entry in enumerate(entries):
        if entry["component"] == name and entry["verb"] == proof.VERIFY and entry["kind"] == "begin":
            when[str(entry["epoch"])] = place
        elif entry["component"] == name and entry["data"].get("event") == proof.VERIFY and entry["kind"] == "state":
            last = when.get(str(entry["epoch"]), place)
    if last is None or last >= begun:
        return []
    return [
        Doubt(name, proof.VERIFY, f"the last one, begun {str(entries[last]['time'])[:19]}Z, is older than this leg")
    ]


def _sources(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the host of each component at the source, as what leads there or back has named it."""
    found: dict[str, str] = {}
    for entry in entries:
        way, side = entry["data"].get("direction"), {FORWARD: "from", BACK: "to"}
        if entry["kind"] == "begin" and way in side and entry["data"].get(side[way]):
            found[str(entry["component"])] = str(entry["data"][side[way]])
    return found


def _leads_back(entry: Entry, sources: Mapping[str, str]) -> bool:
    """Say whether a move leads to the source; one away from a site that is lost may lead to either."""
    way = entry["data"].get("direction")
    source = sources.get(str(entry["component"]), "")
    return bool(way == BACK or (way == AWAY and entry["data"].get("to") == source))


def _last(entries: Iterable[Entry]) -> dict[str, tuple[Entry, str]]:
    """Return the last moving verb of each component, and why it did not come through; nothing where it did."""
    found: dict[str, tuple[Entry, str]] = {}
    for entry in entries:
        name, verb = str(entry["component"]), entry["verb"]
        if entry["kind"] == "begin" and (verb in _FIRST or (verb in MOVING and name in found)):
            if verb != "sync" or entry["phase"] == found[name][0]["phase"]:
                found[name] = (entry, "has not ended")
        elif entry["kind"] == "end" and name in found and _same(entry, begin := found[name][0]):
            result, message = entry["data"].get("result"), entry["data"].get("message") or "no reason given"
            found[name] = (begin, "" if result == OK else f"did not come through: {message}")
    return found


def _same(entry: Entry, begin: Entry) -> bool:
    return all(entry[key] == begin[key] for key in ("controller", "epoch", "phase", "verb"))


def _phases(entries: Iterable[Entry], expected: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return what each phase was expected to take and took when it was run last, from its first entry to its last."""
    found: dict[str, tuple[tuple[str, str], float, float]] = {}
    for entry in entries:
        phase = str(entry["phase"])
        if not phase or not entry["verb"]:
            continue
        whose, at = (str(entry["controller"]), str(entry["epoch"])), _at(entry)
        known = found.get(phase)
        found[phase] = (whose, known[1] if known and known[0] == whose else at, at)
    return {
        phase: {"expected": _number(expected.get(phase)), "measured": round(end - begin, 1)}
        for phase, (_, begin, end) in found.items()
    }


def _end_of(entries: Sequence[Entry], moved: int) -> int:
    """Return the place where what followed a move ended: its own verbs, and the verifications after it."""
    end = moved
    for place, entry in enumerate(entries[moved:], moved):
        if entry["verb"] and entry["verb"] not in (*MOVING, "verify"):
            break
        end = place
    return end


def _real(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of chains that were not only tried, in the order in which they were written."""
    known = list(entries)
    tried = {_whose(entry) for entry in known if entry["data"].get("check_mode")}
    return [entry for entry in chain.in_order(known) if _whose(entry) not in tried]


def _whose(entry: Entry) -> tuple[str, str]:
    return str(entry["controller"]), str(entry["epoch"])


def _at(entry: Entry) -> float:
    return datetime.datetime.fromisoformat(str(entry["time"])).timestamp()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
