"""Where a window went, from the first freeze of a phase to its last thaw, by the journal of one decision. Pure.

Work is what the operations took where they ran. A component waits for others until all is done that its next verb waits
for (`order`), and after its own thaw. All the rest is orchestration: interpreters that start, modules that travel,
entries that are copied.

The critical path goes back from the last thaw, each time to what ended last of all that the verb waits for. Nobody on
it waits for others, so what is not work on it is orchestration.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..system import work
from . import order
from .order import VERBS, Key
from .progress import OK
from .verbs import POINTING

EVENT = "window"


@dataclass(frozen=True)
class Span:
    """A verb of a component: seconds of the clock, and how many of them were work."""

    component: str
    verb: str
    begin: float
    end: float
    work: float

    @property
    def key(self) -> Key:
        """Return what names the span."""
        return self.component, self.verb


@dataclass(frozen=True)
class Link:
    """A span on the critical path; it reaches from the end of the link before it to its own end."""

    span: Span
    since: float

    @property
    def seconds(self) -> float:
        """Return how long the link is."""
        return self.span.end - self.since


@dataclass(frozen=True)
class Share:
    """What a component did with the window; the three together are the window."""

    work: float
    waiting: float
    orchestration: float


@dataclass(frozen=True)
class Window:
    """The window of a phase."""

    phase: str
    seconds: float
    shares: Mapping[str, Share] = field(default_factory=dict)
    path: tuple[Link, ...] = ()

    @property
    def orchestration(self) -> float:
        """Return what the critical path would save if nothing but work were left of it."""
        return self.seconds - sum(link.span.work for link in self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return it as the journal and summary.json keep it."""
        return {
            "phase": self.phase,
            "window_seconds": round(self.seconds, 3),
            "orchestration_seconds": round(self.orchestration, 3),
            "critical_path": [
                {
                    "component": link.span.component,
                    "verb": link.span.verb,
                    "seconds": round(link.seconds, 3),
                    work.SECONDS: round(link.span.work, 3),
                }
                for link in self.path
            ],
            "components": {
                name: {
                    work.SECONDS: round(share.work, 3),
                    "waiting_seconds": round(share.waiting, 3),
                    "orchestration_seconds": round(share.orchestration, 3),
                }
                for name, share in self.shares.items()
            },
        }


@dataclass(frozen=True)
class Told:
    """What the entries of one decision tell of a window: its phase, what has come through, who depends on whom."""

    phase: str = ""
    spans: Mapping[Key, Span] = field(default_factory=dict)
    depends_on: Mapping[str, list[str]] = field(default_factory=dict)


def read(entries: Iterable[Mapping[str, Any]]) -> Optional[Window]:
    """Return the window that the entries of one decision tell of; none before everybody is let in again.

    What only points to a site is left out: nobody waits for it.
    """
    told = spans(entries)
    if not told.spans or any((name, VERBS[-1]) not in told.spans for name in told.depends_on):
        return None
    return measure(told.phase, told.spans.values(), told.depends_on)


def spans(entries: Iterable[Mapping[str, Any]]) -> Told:
    """Return what the entries of one decision tell of a window, also of one that is not over."""
    found: dict[Key, Span] = {}
    open_spans: dict[Key, tuple[float, float]] = {}
    depends_on: dict[str, list[str]] = {}
    phase, now = "", 0.0
    for entry in entries:
        key, data = (str(entry["component"]), str(entry["verb"])), entry["data"]
        # A clock that is set back makes no time of it.
        now = max(now, datetime.datetime.fromisoformat(str(entry["time"])).timestamp())
        if key[1] not in VERBS or (phase and entry["phase"] != phase):
            continue
        if entry["kind"] == "begin" and not data.get("check_mode") and data.get("role") not in POINTING:
            if key[1] == VERBS[0]:
                phase = str(entry["phase"])
            if phase:
                open_spans[key] = (now, 0.0)
                depends_on[key[0]] = [str(other) for other in data.get("depends_on") or []]
        elif entry["kind"] == "step" and key in open_spans:
            began, worked = open_spans[key]
            open_spans[key] = (began, worked + float(data.get(work.SECONDS) or 0.0))
        elif entry["kind"] == "end" and key in open_spans:
            began, worked = open_spans.pop(key)
            if data.get("result") == OK:
                found[key] = Span(*key, began, now, min(worked, now - began))
    return Told(phase, found, depends_on)


def measure(phase: str, given: Iterable[Span], depends_on: Mapping[str, Iterable[str]]) -> Window:
    """Return where the time of these spans went; they are those of one window, and there is at least one."""
    spans = {span.key: span for span in given}
    first, last = min(span.begin for span in spans.values()), max(span.end for span in spans.values())
    names = dict.fromkeys(name for name, _ in spans)
    before = {key: [spans[one] for one in _waits_for(key, names, depends_on) if one in spans] for key in spans}
    shares = {
        name: _share([(spans[key], before[key]) for key in spans if key[0] == name], first, last) for name in names
    }
    return Window(phase, last - first, shares, _path(spans, before, first))


def _waits_for(key: Key, names: Iterable[str], depends_on: Mapping[str, Iterable[str]]) -> list[Key]:
    """Return all that comes before the verb of a component: its own verbs, whether they took place or not, as well."""
    own = [(key[0], earlier) for earlier in VERBS[: VERBS.index(key[1])]]
    return [*own, *order.before(*key, names, depends_on)]


def _share(spans: Iterable[tuple[Span, list[Span]]], first: float, last: float) -> Share:
    worked = waited = lost = 0.0
    now = first
    for span, before in sorted(spans, key=lambda pair: (pair[0].begin, pair[0].end)):
        begin = max(span.begin, now)
        ready = min(max([now, *(one.end for one in before)]), begin)
        end = max(span.end, begin)
        done = min(span.work, end - begin)
        worked, waited, lost = worked + done, waited + ready - now, lost + begin - ready + end - begin - done
        now = end
    return Share(worked, waited + last - now, lost)


def _path(spans: Mapping[Key, Span], before: Mapping[Key, list[Span]], first: float) -> tuple[Link, ...]:
    path: list[Link] = []
    span: Optional[Span] = max(spans.values(), key=lambda one: (one.end, one.begin))
    while span is not None:
        begin = span.begin
        earlier = max((one for one in before[span.key] if one.end <= begin), key=lambda one: one.end, default=None)
        path.append(Link(span, first if earlier is None else earlier.end))
        span = earlier
    return tuple(reversed(path))


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return what `to_dict` has kept, with the machine's load beside it where it is known, as a person reads it."""
    seconds, lost = float(found["window_seconds"]), float(found["orchestration_seconds"])
    load = f"; load {found['load']:.1f} on {found['cores']} cores" if "load" in found else ""
    said = [f"{seconds:.1f} s from freeze to thaw: {seconds - lost:.1f} s work, {lost:.1f} s orchestration{load}"]
    said += [
        f"{name}: {share[work.SECONDS]:.1f} s work, {share['waiting_seconds']:.1f} s waiting for others, "
        f"{share['orchestration_seconds']:.1f} s orchestration"
        for name, share in found["components"].items()
    ]
    links = [
        f"{link['verb']} {link['component']} {link['seconds']:.1f} s ({link[work.SECONDS]:.1f} s work)"
        for link in found["critical_path"]
    ]
    return [*said, f"critical path: {', '.join(links)}"]
