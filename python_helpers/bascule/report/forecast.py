"""What a window is expected to cost its users, from what audits have found and gates have sampled last. Pure.

A component's figure is how long it keeps its users waiting while it moves. The window takes as long as the longest
chain of components that wait for one another (`depends_on`). What nobody knows makes it a lower bound, and is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..run.budget import longest
from ..run.gates import number_of
from ..run.verbs import POINTING
from ..run.window import EVENT as WINDOW

# The limit of the plan that a forecast is put beside.
LIMIT = "write_outage_seconds"
AUDIT = "audit"
# The variables of roles that a forecast rests on.
BUDGET, METHOD, DRAIN, ENTRANCE = (
    "postgresql_replication_switch_budget",
    "postgresql_replication_method",
    "web_entrance_drain_timeout",
    "web_entrance_kind",
)
VARIABLES = (BUDGET, METHOD, DRAIN, ENTRANCE)
# Bytes per second of one Mbit/s.
_MBIT = 1e6 / 8


@dataclass(frozen=True)
class Known:
    """What is known of a component.

    found: what its last audit has found; None when there was none.
    samples: the values of its last samples, by gate.
    variables: those of its role named in VARIABLES.
    """

    role: str
    depends_on: tuple[str, ...] = ()
    found: Optional[Mapping[str, Any]] = None
    samples: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What a component adds to the window: seconds, None where nobody knows, and what that rests on."""

    seconds: Optional[float]
    why: str


@dataclass(frozen=True)
class Forecast:
    """A window: its seconds, the part of each component, and the longest chain, what others depend on first."""

    seconds: float
    parts: Mapping[str, Part]
    chain: tuple[str, ...]

    @property
    def unknown(self) -> list[str]:
        """Return the components of which nobody has a figure."""
        return [name for name, part in self.parts.items() if part.seconds is None]

    @property
    def figure(self) -> str:
        """Return the seconds as they are said."""
        if len(self.unknown) == len(self.parts):
            return "not known"
        return f"{self.seconds:.0f} s{' at least' if self.unknown else ''}"


def last_found(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return what the last audit of each component has found."""
    return {
        str(entry["component"]): entry["data"]["found"]
        for entry in _by_time(entries)
        if entry["kind"] == "state" and entry["data"].get("event") == AUDIT
    }


def last_samples(entries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the last value that each component has put to each gate."""
    found: dict[str, dict[str, Any]] = {}
    for entry in _by_time(entries):
        if entry["kind"] == "sample" and "value" in entry["data"]:
            found.setdefault(str(entry["component"]), {})[str(entry["data"].get("name"))] = entry["data"]["value"]
    return found


def last_window(entries: Iterable[Mapping[str, Any]]) -> Optional[tuple[str, float]]:
    """Return the phase and the seconds of the last window of the run; None before the first."""
    found = [
        (str(entry["data"]["phase"]), float(entry["data"]["window_seconds"]))
        for entry in _by_time(entries)
        if entry["kind"] == "state" and entry["data"].get("event") == WINDOW
    ]
    return found[-1] if found else None


def forecast(components: Mapping[str, Known]) -> Forecast:
    """Return the forecast of a window in which these components move; nobody waits for what takes no part."""
    parts = {name: part(known) for name, known in components.items()}
    return chained(parts, {name: known.depends_on for name, known in components.items()})


def chained(parts: Mapping[str, Part], depends_on: Mapping[str, Iterable[str]]) -> Forecast:
    """Return the forecast of a window out of what each component adds to it."""
    total, names = longest({name: part.seconds or 0.0 for name, part in parts.items()}, depends_on)
    return Forecast(total, parts, tuple(name for name in names if parts[name].seconds))


def part(known: Known) -> Part:
    """Return what a component adds to a window."""
    if known.role in POINTING:
        return Part(0.0, "moves when everybody is in")
    if known.role == "web_entrance":
        drain = number_of(known.variables.get(DRAIN))
        if known.variables.get(ENTRANCE) == "manual":
            why = "people's time, once to close and once to open: a person drives both balancers"
            return Part(None, f"{why}; and {drain or 0:g} s for requests under way")
        return Part(0.0, f"closes first, opens last; requests under way may take up to {drain or 0:g} s")
    if known.role == "vpn_switchover":
        return Part(0.0, "peers are sent away first and let in last; each comes back by its next handshake")
    if known.role == "mysql_replication":
        return Part(None, "the passive side applies what is left, a few statements at each side; not measured before")
    if known.role == "sqlite_store":
        return Part(None, "the application stops, and a last copy travels; not measured before")
    if known.role == "firewall":
        return Part(0.0, "rules are loaded in a moment, and confirmed by a new connection")
    if known.role == "proxmox_guest":
        return _guest(known.found)
    if known.role == "rsync_delta_sync":
        return _tree(known)
    if known.role == "postgresql_replication":
        return _database(known)
    return Part(None, f"the role {known.role} has no forecast")


def lines(found: Forecast, limit: Any, last: Optional[tuple[str, float]] = None) -> list[str]:
    """Return the forecast as a person reads it; `limit` is the plan's, in seconds, or nothing."""
    allowed = number_of(limit)
    beside = f"; the plan allows {allowed:g} s" if allowed is not None else ""
    if limit is not None and allowed is None:
        beside = f"; the plan's limit is no number: {limit}"
    said = [f"forecast of the outage: {found.figure}{beside}"]
    said += [f"  {name:<16}{_seconds(one):>9}  {one.why}" for name, one in found.parts.items()]
    if len(found.chain) > 1:
        said.append(f"  one after the other: {', '.join(found.chain)}")
    if last is not None:
        said.append(f"  the last window of this run ({last[0]}) took {last[1]:.1f} s")
    return said


def too_long(found: Forecast, limit: Any) -> bool:
    """Say whether the forecast is above the plan's limit; a lower bound that is below says nothing."""
    allowed = number_of(limit)
    return allowed is not None and found.seconds > allowed


def _guest(found: Optional[Mapping[str, Any]]) -> Part:
    told = (found or {}).get("forecast")
    if not isinstance(told, Mapping):
        return Part(None, "no audit of this run has measured it")
    way = str(told.get("chosen"))
    cost = told["ways"][way]
    assumed = told.get("assumed") or []
    why = f"{way}, {cost['bytes'] / 1e6:.1f} MB over the link"
    return Part(float(cost["seconds"]), why + (f"; assumed: {'; '.join(map(str, assumed))}" if assumed else ""))


def _tree(known: Known) -> Part:
    changed = number_of(known.samples.get("file_delta"))
    link = (known.found or {}).get("link")
    rate = number_of(known.samples.get("link_rate")) or number_of(
        link.get("mbit") if isinstance(link, Mapping) else None
    )
    if changed is None:
        return Part(None, "a pretest says how much has changed since the last copy")
    if not rate:
        return Part(None, "the link was not measured")
    return Part(changed / (rate * _MBIT), f"{changed / 1e6:.1f} MB changed at the last pretest, {rate:g} Mbit/s")


def _database(known: Known) -> Part:
    if known.variables.get(METHOD) == "dump_restore":
        rehearsed = number_of(known.samples.get("dump_window"))
        why = "dump, transfer, restore and comparison as rehearsed" if rehearsed else "no rehearsal was proved yet"
        return Part(rehearsed or None, why)
    budget = number_of(known.variables.get(BUDGET))
    return Part(budget, "at most: the switch's budget; beyond it the old side serves again")


def _seconds(one: Part) -> str:
    return "not known" if one.seconds is None else f"{one.seconds:.0f} s"


def _by_time(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(entries, key=lambda entry: str(entry["time"]))
