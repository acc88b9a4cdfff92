"""How far a phase is, as a live view shows it: components and verbs, the window's clock, gates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from . import budget
from .budget import Ends, time_of
from .gates import number_of
from .order import CUTOVER, FREEZE, SWITCH, THAW, WINDOWS
from .preflight import PHASES
from .progress import OK
from .verbs import POINTING

Entry = Mapping[str, Any]
WAITS, RUNS, DONE, FAILED = "waits", "runs", "done", "failed"
_ASKS, _AUDIT = "state", "audit"
# Gates that are named one by one.
_NAMED = 3


@dataclass(frozen=True)
class Cell:
    """A verb of a component: its state, and the seconds that it took, or takes by now."""

    state: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Row:
    """A component: its verbs, and what it says last of how far it is."""

    component: str
    cells: Mapping[str, Cell]
    said: str = ""

    @property
    def state(self) -> str:
        """Return the state of the whole row; not every kind of component has every verb before the last one."""
        states = [cell.state for cell in self.cells.values()]
        return next((one for one in (FAILED, RUNS) if one in states), DONE if states[-1:] == [DONE] else WAITS)


@dataclass(frozen=True)
class Board:
    """What a live view shows; `lines` stand above the table."""

    phase: str
    verbs: Sequence[str]
    rows: Sequence[Row]
    lines: Sequence[str] = field(default_factory=list)


def read(phase: str, entries: Iterable[Entry], said: Mapping[str, str], now: float) -> Optional[Board]:
    """Return how far a phase is; nothing before it has begun anything.

    Args:
        phase: which one.
        entries: what its decision has written into the journal, in its order.
        said: what components that take long say of how far they are, by name.
        now: seconds since the epoch, as the journal's times are read.
    """
    known = [one for one in entries if one["phase"] == phase]
    # The audit only asks the roles for all of their verbs.
    verbs = [phase] if phase == _AUDIT else [verb for verb in PHASES.get(phase, ()) if verb != _ASKS]
    go: Mapping[str, Any] = next((one["data"] for one in reversed(known) if one["data"].get("decision") == "GO"), {})
    cells: dict[str, dict[str, Cell]] = {str(name): {} for name in go.get("takes_part") or ()}
    begun: dict[tuple[str, str], float] = {}
    for one in known:
        name, verb = str(one["component"]), str(one["verb"])
        if verb not in verbs:
            continue
        if one["kind"] == "begin":
            begun[name, verb] = time_of(one)
            cells.setdefault(name, {})[verb] = Cell(RUNS, max(0.0, now - time_of(one)))
        elif one["kind"] == "end" and (name, verb) in begun:
            state = DONE if one["data"].get("result") == OK else FAILED
            cells[name][verb] = Cell(state, max(0.0, time_of(one) - begun[name, verb]))
    if not cells:
        return None
    rows = [
        Row(name, {verb: found.get(verb, Cell(WAITS)) for verb in verbs}, said.get(name, ""))
        for name, found in cells.items()
    ]
    lines = _window(phase, known, go.get("forecast") or {}, now) if phase in WINDOWS else []
    return Board(phase, verbs, rows, [*lines, *_gates(known)])


def _window(phase: str, known: Sequence[Entry], forecast: Mapping[str, Any], now: float) -> list[str]:
    """Return the clock of a window, and what a return costs now."""
    moving = [one for one in known if one["data"].get("role") not in POINTING]
    frozen = next((time_of(one) for one in moving if (one["kind"], one["verb"]) == ("begin", FREEZE)), None)
    switched = any((one["kind"], one["verb"]) == ("begin", SWITCH) for one in moving)
    ahead, allowed = number_of(forecast.get("seconds")), number_of(forecast.get("limit"))
    beside = [f"{ahead:.0f} s forecast"] if ahead else []
    beside += [f"the plan allows {allowed:.0f} s"] if allowed is not None else []
    said = f" ({', '.join(beside)})" if beside else ""
    if frozen is None:
        return [f"window: not begun, users are served{said}"]
    waits = max(0.0, now - frozen)
    if (end := _let_in(moving)) is not None:
        return [f"window: users waited for {end - frozen:.0f} s{said}"]
    ends = budget.read(forecast, moving, now)
    lines = [f"window: users wait for {waits:.0f} s{'' if ends is None else _rest(ends)}{said}"]
    if phase != CUTOVER:
        return lines
    if not switched:
        lines.append("return: nothing has switched, so it only lets users in again")
    elif ends is None or ends.latest_return is None:
        lines.append("return: it carries back what was switched")
    else:
        rest = ends.latest_return - waits
        late = f"it had to begin {-rest:.0f} s ago" if rest < 0 else f"it begins within {rest:.0f} s"
        lines.append(f"return: it carries back what was switched; for the plan {late}")
    return [*lines, f"LATE: {late_words(ends)}"] if ends is not None and ends.late else lines


def late_words(ends: Ends) -> str:
    """Return in words that a window may end too late."""
    return (
        f"at worst the window ends {ends.pessimistic:.0f} s after the freeze; a return that begins later than "
        f"{ends.latest_return or 0.0:.0f} s after it may end after what the plan allows"
    )


def _rest(ends: Ends) -> str:
    least = " at least" if ends.least else ""
    expected, worst = ends.expected - ends.waited, ends.pessimistic - ends.waited
    return f", {expected:.0f} s to go, at worst {worst:.0f} s{least}"


def _let_in(moving: Sequence[Entry]) -> Optional[float]:
    """Return when the users of all that were frozen were let in; nothing while somebody waits."""
    frozen = {one["component"] for one in moving if (one["kind"], one["verb"]) == ("begin", FREEZE)}
    ends = {
        one["component"]: time_of(one)
        for one in moving
        if (one["kind"], one["verb"]) == ("end", THAW) and one["data"].get("result") == OK
    }
    return max(ends.values()) if frozen and frozen <= set(ends) else None


def _gates(known: Sequence[Entry]) -> list[str]:
    """Return how many gates let go on, and which do not."""
    last = {(one["data"].get("name"), one["component"]): one["data"] for one in known if one["kind"] == "sample"}
    if not last:
        return []
    passed = sum(1 for data in last.values() if data.get("passes"))
    no = [
        f"{name} of {component}: {data.get('reason')}"
        for (name, component), data in last.items()
        if not data.get("passes")
    ]
    if len(no) > _NAMED:
        no[_NAMED:] = [f"{len(no) - _NAMED} more"]
    over = sum(1 for data in last.values() if data.get("override"))
    words = [f"{passed} GO" + (f", {over} of them overridden" if over else "")]
    return [f"gates: {'; '.join([*words, *(f'NO-GO {one}' for one in no)])}"]
