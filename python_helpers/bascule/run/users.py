"""What users see, and since when, by the guards; by the journal where a guard opens before users are let in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..guard import state as rule
from . import chain
from .order import VERBS
from .position import Sides
from .progress import OK
from .verbs import POINTING

Entry = Mapping[str, Any]
_BEFORE = "before this run"


@dataclass(frozen=True)
class Users:
    """What users see, as one line; the components for which they wait to be let in."""

    line: str
    waiting: tuple[str, ...] = ()


def read(sides: Sequence[Sides], entries: Iterable[Entry]) -> Users:
    """Return what users see; what only points to a site is left out, as nobody waits for it.

    Args:
        sides: both sides of every component, as they were read.
        entries: the journal's entries.
    """
    known = [entry for entry in chain.in_order(entries) if not entry["data"].get("check_mode")]
    pointing = {str(e["component"]) for e in known if e["data"].get("role") in POINTING}
    served: dict[str, list[str]] = {}
    let_in: dict[str, str] = {}
    waiting: dict[str, str] = {}
    others: dict[str, list[str]] = {}
    for one in sides:
        if one.component in pointing:
            continue
        since, frozen, inside = _window(known, one.component)
        guards = [(side, side.guard) for side in (one.source, one.target)]
        opened = [(side, guard) for side, guard in guards if guard is not None and guard.status == rule.OPEN]
        if len(opened) > 1:
            others.setdefault("BOTH SIDES ACCEPT THEM at", []).append(one.component)
        elif opened and not opened[0][1].frozen and not inside and one.unseen:
            others.setdefault("not known of", []).append(one.component)
        elif opened and not opened[0][1].frozen and not inside:
            served.setdefault(opened[0][0].site, []).append(one.component)
            let_in[opened[0][0].site] = max(let_in.get(opened[0][0].site, ""), since)
        elif opened or all(guard is not None and guard.status != rule.UNKNOWN for _, guard in guards):
            waiting[one.component] = frozen
        else:
            others.setdefault("not known of", []).append(one.component)
    parts = [f"{what} {', '.join(names)}" for what, names in others.items()]
    if waiting:
        begun = min((at for at in waiting.values() if at), default="")
        parts.append(f"WAIT since {_second(begun) if begun else 'nobody knows when'} for {', '.join(waiting)}")
    for site, names in served.items():
        whom = "" if len(served) == 1 and len(parts) == 0 else f" ({', '.join(names)})"
        parts.append(f"served at {site} since {_second(let_in[site]) if let_in[site] else _BEFORE}{whom}")
    return Users(f"Users: {'; '.join(parts) or 'nothing that they would use is declared'}", tuple(waiting))


def _window(entries: Iterable[Entry], component: str) -> tuple[str, str, bool]:
    """Return when users were let in last, since when they wait, and whether what was opened lets nobody in yet."""
    since = frozen = ""
    inside = False
    for entry in entries:
        if entry["component"] != component or entry["verb"] not in (*VERBS, "take_over"):
            continue
        verb, time = entry["verb"], str(entry["time"])
        if entry["kind"] == "begin" and verb in ("freeze", "switch", "take_over"):
            frozen = frozen or time
            inside = inside or verb != "freeze"
        elif entry["kind"] == "end" and verb == "thaw" and entry["data"].get("result") == OK:
            since, frozen, inside = time, "", False
    return since, frozen, inside


def _second(time: str) -> str:
    return f"{time[:19]}Z"
